//! `cargo xtask lint`: the format and the faults of the TypeScript, the licences of dependencies, and clippy and
//! rustdoc without a warning, for this machine and for the browser.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::{build, npm, sh, tidy, toolchain, wasm};

/// Crates with code that is compiled only for the browser, each with its folder.
const BROWSER_CRATES: [(&str, &str); 2] =
    [("encoder", "embervec-encoder"), ("kernels", "embervec-kernels")];

pub fn run() -> Result<()> {
    tidy::run()?;
    licences()?;
    let native = |command: &str| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([command, "--workspace"]);
        cargo
    };
    sh::step("lint", "this machine");
    clippy(native("clippy").arg("--all-targets"))?;
    doc(&mut native("doc"))?;
    // Code for the browser alone, and for its GPU, is compiled by nothing above.
    for module in wasm::modules() {
        sh::step("lint", &format!("the browser's module {}", module.name));
        clippy(toolchain::cargo("clippy")?.args(&module.cargo_args))?;
        // Clippy also checks the crates that this one depends on; rustdoc does not. A crate that the module is not made
        // of would come with features that do not compile for the browser.
        let crates = BROWSER_CRATES.iter().filter(|(folder, _)| module.sources.contains(folder));
        let crates = crates.flat_map(|(_, name)| ["-p", *name]);
        doc(toolchain::cargo("doc")?.args(&module.cargo_args).args(crates))?;
    }
    typescript()
}

/// The linter knows the types, which the wasm modules and the package have to be built for.
fn typescript() -> Result<()> {
    build::package()?;
    sh::step("lint", "TypeScript");
    sh::run(npm::command("npm").args(["run", "lint"]))
}

/// The rules are in deny.toml. Advisories appear without a change here, so .github/workflows/audit.yml checks them.
fn licences() -> Result<()> {
    if sh::find("cargo-deny").is_none() {
        sh::step("lint", "licences are not checked: run `cargo install --locked cargo-deny` first");
        return Ok(());
    }
    sh::step("lint", "licences and sources of the dependencies");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    sh::run(cargo.args(["deny", "--locked", "check", "licenses", "bans", "sources"]))
}

fn clippy(cargo: &mut Command) -> Result<()> {
    sh::run(cargo.args(["--", "-D", "warnings"]))
}

fn doc(cargo: &mut Command) -> Result<()> {
    sh::run(cargo.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}
