//! The operating system's package manager.

use std::process::Command;

use anyhow::{Result, bail};

use crate::sh;

/// What one piece of software is called in each package manager; an empty list where it has none.
pub struct Packages {
    /// What to call it in messages.
    pub what: &'static str,
    /// Debian, Ubuntu and their relatives.
    pub apt: &'static [&'static str],
    /// Fedora and its relatives.
    pub dnf: &'static [&'static str],
    /// macOS.
    pub brew: &'static [&'static str],
}

/// Installs with the first package manager that is there and has it.
pub fn install(packages: &Packages) -> Result<()> {
    if !packages.apt.is_empty() && sh::find("apt-get").is_some() {
        let list = packages.apt.join(" ");
        sh::step("setup", &format!("installing {} with apt-get: {list}", packages.what));
        // An outdated index names versions that are gone, so it is renewed; when that fails the old one may still do.
        if let Err(error) = sh::run(as_root("apt-get").args(["update", "--quiet"])) {
            sh::step("setup", &format!("{error:#}; trying with the present package index"));
        }
        let mut install = as_root("apt-get");
        return sh::run(
            install
                .args(["install", "--yes", "--quiet", "--no-install-recommends"])
                .args(packages.apt),
        );
    }
    if !packages.dnf.is_empty() && sh::find("dnf").is_some() {
        sh::step(
            "setup",
            &format!("installing {} with dnf: {}", packages.what, packages.dnf.join(" ")),
        );
        return sh::run(as_root("dnf").args(["install", "--assumeyes"]).args(packages.dnf));
    }
    if !packages.brew.is_empty() && sh::find("brew").is_some() {
        sh::step(
            "setup",
            &format!("installing {} with brew: {}", packages.what, packages.brew.join(" ")),
        );
        return sh::run(Command::new("brew").arg("install").args(packages.brew));
    }
    bail!("no package manager here is known to have {}", packages.what)
}

/// The program, under `sudo` unless this is root already or there is no `sudo`.
fn as_root(program: &str) -> Command {
    let is_root = sh::output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
    let mut command = if is_root || sh::find("sudo").is_none() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    };
    // Through `env`, because sudo does not hand the environment on.
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}
