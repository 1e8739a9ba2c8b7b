//! `cargo xtask pack`: a model folder's weights in 8 bits, and its manifest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::sh;

const PACKAGE: &str = "embervec-pack";

/// Runs `embervec-pack` with these arguments, where the caller is: they hold paths.
pub fn run(args: &[String]) -> Result<()> {
    sh::run(sh::cargo("run", PACKAGE).arg("--").args(args))
}

/// Builds `embervec-pack` and gives its path.
pub fn build() -> Result<PathBuf> {
    sh::build_program(PACKAGE)
}

/// Packs a folder in place, unless this build of `embervec-pack` has done so.
pub fn ensure(folder: &Path) -> Result<()> {
    let tool = build()?;
    if sh::is_fresh(&folder.join("manifest.json"), &tool) {
        return Ok(());
    }
    sh::step("pack", &format!("packing {}", folder.display()));
    sh::run(Command::new(tool).arg(folder))
}
