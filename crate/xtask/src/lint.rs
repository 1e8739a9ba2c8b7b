//! `cargo xtask lint`: clippy and the documentation, without a warning, for this machine and for the browser.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::{sh, toolchain, wasm};

pub fn run() -> Result<()> {
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
        doc(toolchain::cargo("doc")?.args(&args))?;
    }
    Ok(())
}

fn clippy(cargo: &mut Command) -> Result<()> {
    sh::run(cargo.args(["--", "-D", "warnings"]))
}

fn doc(cargo: &mut Command) -> Result<()> {
    sh::run(cargo.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}
