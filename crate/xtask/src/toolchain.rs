//! A Rust toolchain that can compile to WebAssembly.
//!
//! The target needs a standard library. rustup has it ready-made; a distribution's own packages have its sources, from
//! which cargo builds it (`-Zbuild-std`). What is there already is used, and only then something is fetched.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Packages};
use crate::sh;

/// The target's name for rustc.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Enough for 30 MB on a slow line.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

const SYSTEM_BIN: &str = "/usr/bin";

/// Compiler, cargo, the standard library's sources and the linker, all of one version.
const SYSTEM_PACKAGES: Packages = Packages {
    what: "a Rust toolchain for WebAssembly",
    apt: &["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "lld-22"],
    dnf: &[],
    brew: &[],
};

/// A command of cargo, such as `build`, for the WebAssembly target, with a toolchain that is able to do it.
pub fn cargo(command: &str) -> Result<Command> {
    if has_ready_made_std() {
        return Ok(ready_made(command));
    }
    if has_system_toolchain() {
        return from_sources(command);
    }

    let by_rustup = add_rustup_target();
    if by_rustup.is_ok() && has_ready_made_std() {
        return Ok(ready_made(command));
    }

    let by_system = packages::install(&SYSTEM_PACKAGES);
    if by_system.is_ok() && has_system_toolchain() {
        return from_sources(command);
    }
    let reason = |result: Result<()>| match result {
        Ok(()) => "done, but it is not enough".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    bail!(
        "Rust has no standard library for {TARGET} here. Install it (`rustup target add {TARGET}`) and run this again.\n  \
         rustup: {}\n  system packages: {}",
        reason(by_rustup),
        reason(by_system)
    )
}

fn ready_made(command: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([command, "--target", TARGET]);
    cargo
}

fn from_sources(command: &str) -> Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path =
        env::join_paths(std::iter::once(PathBuf::from(SYSTEM_BIN)).chain(env::split_paths(&path)))
            .context("the PATH is malformed")?;
    let mut cargo = Command::new(Path::new(SYSTEM_BIN).join("cargo"));
    cargo.args([command, "--target", TARGET, "-Zbuild-std=std,panic_abort"]);
    // rustup and `cargo run` name their own compiler and libraries in these; the system's cargo must use the system's.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
        cargo.env_remove(name);
    }
    cargo
        .env("PATH", path)
        // Lets a stable compiler take `-Z` options.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "rust-lld");
    Ok(cargo)
}

fn has_ready_made_std() -> bool {
    let Ok(dir) =
        sh::output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
    else {
        return false;
    };
    // rustc prints the folder whether it exists or not.
    let Ok(entries) = fs::read_dir(dir) else {
        return false;
    };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn has_system_toolchain() -> bool {
    let bin = Path::new(SYSTEM_BIN);
    if !["cargo", "rustc", "rust-lld"].iter().all(|program| bin.join(program).is_file()) {
        return false;
    }
    let rustc = |option: &[&str]| {
        sh::output(Command::new(bin.join("rustc")).env_remove("LD_LIBRARY_PATH").args(option))
    };
    let (Ok(version), Ok(sysroot)) = (rustc(&["--version"]), rustc(&["--print", "sysroot"])) else {
        return false;
    };
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std");
    let needed = parse_version(env!("CARGO_PKG_RUST_VERSION"));
    let version = version.split(' ').nth(1).and_then(parse_version);
    sources.is_dir() && version >= needed
}

fn add_rustup_target() -> Result<()> {
    if sh::find("rustup").is_none() {
        bail!("rustup is not installed");
    }
    sh::step("setup", &format!("adding the target {TARGET} with rustup"));
    sh::run_within(Command::new("rustup").args(["target", "add", TARGET]), RUSTUP_LIMIT)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("1.100.0") > parse_version("1.95"));
        assert!(parse_version("1.85.0") < parse_version("1.95"));
        assert_eq!(parse_version("nightly"), None);
    }
}
