//! Running other programs, and where things are.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The root of the repository.
pub fn root() -> PathBuf {
    // At run time, because clones may share a target folder; the compile-time value serves a binary run by hand.
    let xtask =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let xtask = PathBuf::from(xtask);
    xtask.ancestors().nth(2).map_or(xtask.clone(), Path::to_path_buf)
}

/// The folder for downloads that outlive a clone.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("EMBERVEC_CACHE") {
        return Ok(dir);
    }
    if let Some(dir) = set("XDG_CACHE_HOME") {
        return Ok(dir.join("embervec"));
    }
    let home = env::home_dir()
        .context("there is no home folder for the cache; set EMBERVEC_CACHE to a folder")?;
    Ok(home.join(".cache").join("embervec"))
}

/// Says in one line what is done now, or that there is nothing to do.
pub fn step(topic: &str, what: &str) {
    eprintln!("[{topic}] {what}");
}

/// Runs a program with this one's input and output; its failure is an error that repeats the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// What a program prints, without the last line break.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", shown(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Like [`run`], but ends the program when it takes longer than `limit`: for those that hang without a network.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("`{}` failed ({status})", shown(command));
            }
            return Ok(());
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("`{}` was ended after {} s", shown(command), limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Cargo with a package of this workspace.
pub fn cargo(verb: &str, package: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([verb, "--package", package, "--manifest-path"]).arg(root().join("Cargo.toml"));
    command
}

/// Builds the program of a package of this workspace, which has the package's name, and gives its path.
pub fn build_program(package: &str) -> Result<PathBuf> {
    run(cargo("build", package).arg("--quiet"))?;
    let xtask = env::current_exe().context("cannot find this program's own file")?;
    Ok(xtask.with_file_name(format!("{package}{}", env::consts::EXE_SUFFIX)))
}

/// The program of this name on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&path).map(|dir| dir.join(&name)).find(|file| file.is_file())
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `made` exists and is not older than `source`.
pub fn is_fresh(made: &Path, source: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    match (modified(made), modified(source)) {
        (Some(made), Some(source)) => made >= source,
        _ => false,
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_failure_repeats_the_command() {
        let error =
            run(Command::new("no-such-program").arg("--flag")).expect_err("it does not exist");
        assert_eq!(error.to_string(), "cannot start `no-such-program --flag`");
    }

    #[test]
    fn what_does_not_exist_is_not_fresh() {
        assert!(!is_fresh(Path::new("no-such-file"), &root().join("Cargo.toml")));
    }
}
