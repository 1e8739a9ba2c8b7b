//! `cargo xtask build`: from the sources to what is published and served. Each step makes the one before it.

use std::process::Command;

use anyhow::Result;

use crate::{npm, sh, wasm};

/// The npm package in `pkg/dist`.
pub fn package() -> Result<()> {
    wasm::build()?;
    sh::step("pkg", "building the npm package");
    sh::run(Command::new("node").arg("pkg/build.mjs"))
}

/// The demo page and the extension in `www/dist`.
pub fn www() -> Result<()> {
    package()?;
    sh::step("www", "building the demo page");
    sh::run(npm::bin("webpack").args(["--mode", "production"]))
}
