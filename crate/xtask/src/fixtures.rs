//! `cargo xtask fixtures`: the expected values of tests, computed anew by the Python reference.

use std::process::Command;

use anyhow::Result;

use crate::{model, python, sh};

/// Runs the generator with these arguments.
pub fn run(args: &[String]) -> Result<()> {
    model::ensure()?;
    let dir = sh::root().join("tests").join("fixtures");
    let python = python::venv("fixtures", &dir.join("requirements.txt"))?;
    sh::step("fixtures", "running tests/fixtures/generate.py");
    sh::run(Command::new(python).arg(dir.join("generate.py")).args(args))
}
