//! `cargo xtask build`: from the sources to what is published and served. Each step makes the one before it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{docs, model, npm, pack, sh, wasm};

/// The npm package in `pkg/dist`.
pub fn package() -> Result<()> {
    wasm::build()?;
    sh::step("pkg", "building the npm package");
    sh::run(Command::new("node").arg("pkg/build.mjs"))
}

/// The demo page with the API reference in `www/dist`, and the extension.
pub fn www() -> Result<()> {
    package()?;
    sh::step("www", "building the demo page");
    sh::run(npm::bin("webpack").args(["--mode", "production"]))?;
    docs::build()?;
    publish_model(&sh::root().join("www"))
}

/// Puts the model, where there is one, into the folder that is served, packed as a host would have it: a visitor of the demo
/// fetches a quarter, while `bench.html` finds the original weights as well.
fn publish_model(www: &Path) -> Result<()> {
    if !www.join("models").join(model::NAME).exists() {
        return Ok(());
    }
    let served = www.join("dist").join("models").join(model::NAME);
    model::place(&served)?;
    pack::ensure(&served)
}
