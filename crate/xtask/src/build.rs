//! `cargo xtask build`: from the sources to what is published and served. Each step makes the one before it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{corpora, docs, model, npm, pack, sh, wasm};

/// The npm package in `pkg/dist`.
pub fn package() -> Result<()> {
    wasm::build()?;
    sh::step("pkg", "building the npm package");
    sh::run(Command::new("node").arg("pkg/build.mjs"))
}

/// The demo page with the API reference and the ready corpora in `www/dist`, and the extension.
pub fn www() -> Result<()> {
    package()?;
    sh::step("www", "building the demo page");
    sh::run(npm::bin("webpack").args(["--mode", "production"]))?;
    docs::build()?;
    // Without a model there is nothing to search with, either.
    if !model::folder().exists() {
        return Ok(());
    }
    publish_model()?;
    corpora::build()
}

/// Puts the model into the folder that is served, packed as a host would have it: a visitor of the demo fetches a quarter, while
/// `bench.html` finds the original weights as well.
pub fn publish_model() -> Result<()> {
    let models = sh::root().join("www").join("dist").join("models");
    let served = models.join(model::NAME);
    model::place(&served)?;
    pack::ensure(&served)?;
    list_models(&models)
}

/// A web server cannot list a folder, and the page offers only models that are there.
fn list_models(models: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(models)? {
        let entry = entry?;
        if entry.path().join("config.json").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let list = models.join("index.json");
    // Names of folders need no escapes that JSON does not know.
    fs::write(&list, format!("{names:?}"))
        .with_context(|| format!("cannot write {}", list.display()))
}
