//! `cargo xtask docs`: the API reference, made by TypeDoc from the package's comments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{npm, sh};

/// Writes `www/dist/docs`. A public name without a comment, and any other warning, is an error.
pub fn build() -> Result<()> {
    let root = sh::root();
    let dir = root.join("docs").join("api");
    // TypeDoc needs TypeScript's old compiler, so it has packages of its own.
    npm::ensure_in(&dir)?;
    let made = root.join("www").join("dist").join("docs").join("index.html");
    let mut sources = vec![dir.join("typedoc.json"), dir.join("package-lock.json")];
    list_files(&root.join("pkg").join("src"), &mut sources)?;
    if sources.iter().all(|source| sh::is_fresh(&made, source)) {
        return Ok(());
    }
    sh::step("docs", "writing the API reference");
    let typedoc = dir.join("node_modules").join("typedoc").join("bin").join("typedoc");
    sh::run(Command::new("node").arg(typedoc).arg("--options").arg(dir.join("typedoc.json")))
        .context("a public name of pkg/src has no comment, or TypeDoc has found another fault")
}

fn list_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
