//! Node and the npm packages.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sh;

/// Major and minor version, as `engines` of package.json has it.
const MIN_NODE: (u32, u32) = (20, 11);

/// Installs the packages that `package-lock.json` names, unless they are there.
pub fn ensure() -> Result<()> {
    ensure_in(&sh::root())
}

/// Like [`ensure`], for a folder with a lock file of its own.
pub fn ensure_in(dir: &Path) -> Result<()> {
    check_node()?;
    // npm writes this file last, so it tells a whole installation from an interrupted one.
    let installed = dir.join("node_modules/.package-lock.json");
    if sh::is_fresh(&installed, &dir.join("package-lock.json")) {
        return Ok(());
    }
    sh::step("setup", &format!("installing npm packages in {}", dir.display()));
    // Install scripts only download binaries that are not used here, and fail where they cannot.
    let mut npm = command("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(dir);
    sh::run(&mut npm).context("the npm packages cannot be installed")
}

/// A program of an installed npm package.
pub fn bin(name: &str) -> Command {
    let path = sh::root().join("node_modules").join(".bin").join(name);
    command(&path.to_string_lossy())
}

/// A program that npm wraps in a `.cmd` file on Windows.
pub fn command(name: &str) -> Command {
    match env::consts::FAMILY {
        "windows" => Command::new(format!("{name}.cmd")),
        _ => Command::new(name),
    }
}

/// Node with the loader that runs TypeScript.
pub fn node_ts() -> Command {
    let mut node = Command::new("node");
    node.args(["--import", "tsx"]);
    node
}

fn check_node() -> Result<()> {
    let advice = || {
        let (major, minor) = MIN_NODE;
        format!(
            "install Node {major}.{minor} or newer with npm (https://nodejs.org) and run this again"
        )
    };
    let version = sh::output(Command::new("node").arg("--version")).with_context(advice)?;
    match parse_version(&version) {
        Some(found) if found >= MIN_NODE => {}
        _ => bail!("node is {version}: {}", advice()),
    }
    if sh::find("npm").is_none() && sh::output(command("npm").arg("--version")).is_err() {
        bail!("npm is not there: {}", advice());
    }
    Ok(())
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix('v')?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_node() {
        assert_eq!(parse_version("v20.20.2"), Some((20, 20)));
        assert_eq!(parse_version("v20"), None);
        assert_eq!(parse_version("20.1.0"), None);
    }
}
