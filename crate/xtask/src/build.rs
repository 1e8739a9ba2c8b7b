//! `cargo xtask build`: from the sources to what is published and served. Each step makes the one before it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

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
    sh::run(npm::bin("webpack").args(["--mode", "production"]))?;
    publish_models(&sh::root().join("www"))
}

/// Makes `www/models` reachable below `www/dist`, the folder that is served. Each build does it, because webpack empties
/// the folder.
fn publish_models(www: &Path) -> Result<()> {
    let served = www.join("dist").join("models");
    if !www.join("models").exists() || served.exists() {
        return Ok(());
    }
    // `exists` follows a link, so what is left here is a link to nowhere, or nothing.
    let _ = fs::remove_file(&served);
    link_models(&served)
        .with_context(|| format!("cannot publish www/models as {}", served.display()))
}

#[cfg(unix)]
fn link_models(served: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink("../models", served)?)
}

/// A copy, because links need a privilege on Windows.
#[cfg(not(unix))]
fn link_models(served: &Path) -> Result<()> {
    crate::model::place(&served.join(crate::model::NAME))
}
