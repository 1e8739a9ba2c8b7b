//! Python, where it is needed: to generate fixtures, and to fetch the model from a Python package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// The system's Python 3.
pub fn python() -> Result<Command> {
    let found = ["python3", "python"].iter().find_map(|name| sh::find(name));
    found.map(Command::new).context("there is no Python: install Python 3 and run this again")
}

/// The Python of a virtual environment that has the packages of a requirements file; made when it is missing or old.
pub fn venv(name: &str, requirements: &Path) -> Result<PathBuf> {
    let dir = sh::cache_dir()?.join("venv").join(name);
    let python = match std::env::consts::FAMILY {
        "windows" => dir.join("Scripts").join("python.exe"),
        _ => dir.join("bin").join("python"),
    };
    let wanted = fs::read(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    // Written last, so an interrupted installation is done again.
    let installed = dir.join("requirements.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    sh::step(
        "setup",
        &format!(
            "installing the Python packages of {} (this may take minutes)",
            requirements.display()
        ),
    );
    sh::run(self::python()?.args(["-m", "venv", "--clear"]).arg(&dir)).context(
        "cannot make a virtual environment; on Debian and Ubuntu it needs the package python3-venv",
    )?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements);
    sh::run(&mut pip)?;
    fs::write(&installed, wanted)
        .with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(python)
}
