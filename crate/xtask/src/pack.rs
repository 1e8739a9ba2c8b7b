//! `cargo xtask pack`: a model folder's weights in 8 bits, and its manifest.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::sh;

/// Runs `embervec-pack` with these arguments, where the caller is: they hold paths.
pub fn run(args: &[String]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut run = Command::new(cargo);
    run.args(["run", "--package", "embervec-pack", "--manifest-path"]);
    sh::run(run.arg(sh::root().join("Cargo.toml")).arg("--").args(args))
}
