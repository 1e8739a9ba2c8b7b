//! `cargo xtask test`: every test, the fast ones first.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{browsers, build, model, npm, pack, sh, size, wasm};

type Step = (&'static str, fn() -> Result<()>);

const RUST: Step = ("rust", rust);
const FUZZ: Step = ("fuzz", fuzz);
const TYPES: Step = ("types", types);
const UNIT: Step = ("unit", unit);
const NODE: Step = ("node", node);
const BROWSER: Step = ("browser", browser);
const ENGINES: Step = ("engines", engines);
const SIZE: Step = ("size", size::check);

/// For all targets together.
const FUZZ_SECONDS: &str = "120";

/// Runs all tests or those of one kind. A failure does not keep the others from running.
pub fn run(args: &[String]) -> Result<()> {
    let steps: &[Step] = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => &[RUST, FUZZ, TYPES, UNIT, NODE, BROWSER, ENGINES, SIZE],
        ["rust"] => &[RUST],
        ["fuzz"] => &[FUZZ],
        ["unit"] => &[TYPES, UNIT],
        ["node"] => &[NODE],
        ["browser"] => &[BROWSER],
        ["engines"] => &[ENGINES],
        _ => {
            bail!(
                "`test` takes one of `rust`, `fuzz`, `unit`, `node`, `browser` and `engines`, or nothing"
            )
        }
    };
    let started = Instant::now();
    model::ensure()?;
    // Native tests need nothing of what is built for the browser, and those of the engines and of Node only the package.
    if steps == [ENGINES] || steps == [NODE] {
        build::package()?;
    } else if steps != [RUST] && steps != [FUZZ] {
        build::www()?;
        wasm::build_kernel_tests()?;
    }
    let failed: Vec<&str> =
        steps.iter().filter(|step| !passes(step)).map(|(name, _)| *name).collect();
    let seconds = started.elapsed().as_secs();
    if !failed.is_empty() {
        bail!(
            "{} of {} test steps failed: {} ({seconds} s)",
            failed.len(),
            steps.len(),
            failed.join(", ")
        );
    }
    sh::step("test", &format!("all {} test steps passed ({seconds} s)", steps.len()));
    Ok(())
}

fn passes((name, step): &Step) -> bool {
    sh::step("test", name);
    match step() {
        Ok(()) => true,
        Err(error) => {
            sh::step("test", &format!("{name} failed: {error:#}"));
            false
        }
    }
}

fn rust() -> Result<()> {
    sh::run(&mut cargo_test())
}

/// Hostile model folders, without libFuzzer: nobody's machine has to have a C++ compiler.
fn fuzz() -> Result<()> {
    // The whole workspace's build, of which nothing else is run: that of one package would be another one.
    sh::run(
        cargo_test()
            .args(["--test", "replay", "--", "--nocapture"])
            .env("EMBERVEC_FUZZ_SECONDS", FUZZ_SECONDS),
    )
}

fn cargo_test() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The wasm crate has nothing to test outside a browser.
    cargo.args(["test", "--workspace", "--exclude", "embervec-wasm"]);
    cargo
}

fn types() -> Result<()> {
    sh::run(npm::command("npm").args(["run", "check"]))
}

fn unit() -> Result<()> {
    sh::run(npm::node_ts().arg("--test").args(test_files("tests/unit")?))
}

/// The package in Node: threads, the cache folder, models by path, the command line.
fn node() -> Result<()> {
    let mut node = npm::node_ts();
    // What the package packs is compared with what it packs.
    node.env("EMBERVEC_PACK", pack::build()?);
    // What hangs ends its own file.
    node.args(["--test", "--test-concurrency=2", "--test-timeout=600000"]);
    sh::run(node.args(test_files("tests/node")?))
}

fn browser() -> Result<()> {
    let chrome = browsers::chromium()?;
    // Two browsers at a time: what they measure is memory, and time only against bounds of seconds.
    let mut node = npm::node_ts();
    // A page that waits for ever ends its own file, not the whole run.
    node.args(["--test", "--test-concurrency=2", "--test-timeout=600000"])
        .args(test_files("tests/browser")?);
    sh::run(node.env("CHROME", chrome))
}

/// The core of the browser tests, in every engine that this system has.
fn engines() -> Result<()> {
    let mut node = npm::node_ts();
    // For all of them together; what hangs in one has a limit of its own.
    node.args(["--test", "--test-timeout=900000"]).args(test_files("tests/engines")?);
    sh::run(node.envs(browsers::engines()?))
}

/// The test files of a folder by name; Node 20 does not expand patterns itself.
fn test_files(dir: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {dir}"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".test.ts"));
    files.sort();
    // Node would look for tests of its own and could pass without any.
    if files.is_empty() {
        bail!("there is no *.test.ts in {dir}");
    }
    Ok(files)
}
