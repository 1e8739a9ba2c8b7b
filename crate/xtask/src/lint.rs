//! `cargo xtask lint`: the format and the faults of the TypeScript, the licences of dependencies, and clippy and
//! rustdoc without a warning, for this machine and for the browser.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::{build, npm, sh, toolchain, wasm};

/// Crates with code that is compiled only for the browser.
const BROWSER_CRATES: [&str; 2] = ["embervec-bert", "embervec-kernels"];

pub fn run() -> Result<()> {
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
    for (variant, args) in wasm::cargo_args() {
        sh::step("lint", &format!("the browser's module {variant}"));
        clippy(toolchain::cargo("clippy")?.args(&args))?;
        // Clippy also checks the crates that this one depends on; rustdoc does not.
        let crates = BROWSER_CRATES.iter().flat_map(|name| ["-p", *name]);
        doc(toolchain::cargo("doc")?.args(&args).args(crates))?;
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
