//! `cargo xtask test`: every test, the fast ones first.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{browsers, build, model, multilingual, npm, pack, package, sh, size, wasm};

/// What a step's tests run on.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Needs {
    /// Only the model.
    Model,
    /// `pkg/dist`, too.
    Package,
    /// The pages and the kernels' tests for the browser, too.
    Pages,
}

struct Step {
    name: &'static str,
    needs: Needs,
    run: fn() -> Result<()>,
    /// Whether it is one of all tests.
    is_default: bool,
}

const fn step(name: &'static str, needs: Needs, run: fn() -> Result<()>) -> Step {
    Step { name, needs, run, is_default: true }
}

/// In this order.
const STEPS: [Step; 12] = [
    step("rust", Needs::Model, rust),
    step("fuzz", Needs::Model, fuzz),
    step("types", Needs::Package, types),
    step("unit", Needs::Pages, unit),
    step("node", Needs::Package, node),
    step("adapters", Needs::Package, adapters),
    step("browser", Needs::Pages, browser),
    step("engines", Needs::Pages, engines),
    step("consumers", Needs::Package, consumers),
    step("package", Needs::Package, package),
    step("size", Needs::Package, size::check),
    Step { is_default: false, ..step("heavy", Needs::Package, heavy) },
];

/// For all targets together.
const FUZZ_SECONDS: &str = "120";

/// Runs all tests or those of these kinds. A failure does not keep the others from running.
pub fn run(args: &[String]) -> Result<()> {
    if let Some(unknown) = args.iter().find(|arg| STEPS.iter().all(|step| step.name != **arg)) {
        let names = STEPS.map(|step| step.name).join("`, `");
        bail!(
            "`test` has no kind `{unknown}`; it takes some of `{names}`, or nothing for all but `heavy`"
        );
    }
    let is_wanted = |step: &&Step| match args {
        [] => step.is_default,
        _ => args.iter().any(|arg| step.name == arg),
    };
    let steps: Vec<&Step> = STEPS.iter().filter(is_wanted).collect();
    let needs = |needs: Needs| steps.iter().any(|step| step.needs >= needs);

    let started = Instant::now();
    model::ensure()?;
    if needs(Needs::Pages) {
        build::www()?;
        wasm::build_kernel_tests()?;
    } else if needs(Needs::Package) {
        build::package()?;
    }
    let failed: Vec<&str> =
        steps.iter().filter(|step| !passes(step)).map(|step| step.name).collect();
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

fn passes(Step { name, run, .. }: &Step) -> bool {
    sh::step("test", name);
    let started = Instant::now();
    let result = run();
    let seconds = started.elapsed().as_secs();
    match result {
        Ok(()) => {
            sh::step("test", &format!("{name} passed ({seconds} s)"));
            true
        }
        Err(error) => {
            sh::step("test", &format!("{name} failed ({seconds} s): {error:#}"));
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
    sh::run(&mut node_tests("tests/unit")?)
}

/// Node with the test files of a folder, two at a time: on two processors Node itself would take one after the other. What
/// hangs ends its own file, not the whole run.
fn node_tests(dir: &str) -> Result<Command> {
    let mut node = npm::node_ts();
    node.args(["--test", "--test-concurrency=2", "--test-timeout=600000"]).args(test_files(dir)?);
    Ok(node)
}

/// The package in Node: threads, the cache folder, models by path, the command line.
fn node() -> Result<()> {
    // What the package packs is compared with what it packs.
    let native = pack::build()?;
    let mut node = node_tests("tests/node")?;
    sh::run(node.env("EMBERVEC_PACK", native).env("EMBERVEC_WRITE_FOLDER", write_folder()?))
}

/// Builds what writes an index into a folder, natively, and gives its path.
fn write_folder() -> Result<PathBuf> {
    let name = "write_folder";
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "embervec-search", "--features", "folder"]);
    cargo.args(["--example", name, "--manifest-path"]).arg(sh::root().join("Cargo.toml"));
    sh::run(&mut cargo)?;
    let program = env::current_exe().context("cannot find this program's own file")?;
    Ok(program.with_file_name("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

/// The adapters, in Node, with what they adapt to.
fn adapters() -> Result<()> {
    sh::run(&mut node_tests("tests/adapters")?)
}

fn browser() -> Result<()> {
    let chrome = browsers::chromium()?;
    // What they measure is memory, and time only against bounds of seconds, so two browsers at a time do no harm.
    sh::run(node_tests("tests/browser")?.env("CHROME", &chrome))?;
    // These measure milliseconds.
    let mut alone = npm::node_ts();
    alone.args(["--test", "--test-concurrency=1", "--test-timeout=600000"]);
    sh::run(alone.args(test_files("tests/browser/timing")?).env("CHROME", chrome))
}

/// The core of the browser tests, in every engine that this system has.
fn engines() -> Result<()> {
    let mut node = npm::node_ts();
    // For all of them together; what hangs in one has a limit of its own.
    node.args(["--test", "--test-timeout=900000"]).args(test_files("tests/engines")?);
    sh::run(node.envs(browsers::engines()?))
}

/// The package from its tarball: with the bundlers whose packages are 105 MB on a disk, and without one.
fn consumers() -> Result<()> {
    consumers_in("tests/consumers")
}

/// The same with Parcel and Next.js, which are 444 MB, the core in Bun and Deno, which are 194 MB, XLM-RoBERTa's
/// vocabulary, of a package of 91 MB, and every shape on the GPU. Not one of all tests; `.ci/run` runs it last.
fn heavy() -> Result<()> {
    let tokenizer = xlm_roberta();
    let shapes = shapes();
    let consumers = consumers_in("tests/consumers/heavy");
    npm::ensure_in(&sh::root().join("tests").join("node").join("runtimes"))?;
    sh::run(npm::node_ts().args(["--test", "tests/node/runtimes.test.ts"]))?;
    tokenizer.and(shapes).and(consumers)
}

fn shapes() -> Result<()> {
    let mut node = npm::node_ts();
    node.args(["--test", "tests/browser/webgpu-shapes.test.ts"]).env("EMBERVEC_ALL_SHAPES", "1");
    sh::run(node.env("CHROME", browsers::chromium()?))
}

fn xlm_roberta() -> Result<()> {
    let folder = multilingual::folder()?;
    let test = ["--test", "xlm_roberta", "--", "--ignored", "--nocapture"];
    sh::run(cargo_test().args(test).env("EMBERVEC_XLM_ROBERTA", folder))
}

fn consumers_in(dir: &str) -> Result<()> {
    let chrome = browsers::chromium()?;
    npm::ensure_in(&sh::root().join(dir))?;
    sh::run(node_tests(dir)?.env("CHROME", chrome))
}

/// The tarball, and what others do with it: with tools of its own, which nothing else needs.
fn package() -> Result<()> {
    package::pack()?;
    npm::ensure_in(&sh::root().join("tests").join("package"))?;
    sh::run(&mut node_tests("tests/package")?)
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
