//! `cargo xtask pack`: a model folder's weights in 8 bits, and its manifest.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// Runs `embervec-pack` with these arguments, where the caller is: they hold paths.
pub fn run(args: &[String]) -> Result<()> {
    sh::run(cargo("run").arg("--").args(args))
}

/// Builds `embervec-pack` and gives its path.
pub fn build() -> Result<PathBuf> {
    sh::run(cargo("build").arg("--quiet"))?;
    let program = env::current_exe().context("cannot find this program's own file")?;
    Ok(program.with_file_name(format!("embervec-pack{}", env::consts::EXE_SUFFIX)))
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

fn cargo(verb: &str) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([verb, "--package", "embervec-pack", "--manifest-path"]);
    command.arg(sh::root().join("Cargo.toml"));
    command
}
