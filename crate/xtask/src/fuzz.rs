//! `cargo xtask fuzz`: hostile model folders, chosen by libFuzzer by the code that they reach.
//!
//! The flags are those of cargo-fuzz without a sanitizer, which a stable compiler does not have. What is found lies
//! in the target folder, beside the corpus, which the next run goes on with.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::packages::{self, Packages};
use crate::sh;

const CXX_COMPILERS: [&str; 3] = ["c++", "g++", "clang++"];

const CXX_PACKAGES: Packages = Packages {
    what: "a C++ compiler for libFuzzer",
    apt: &["g++"],
    dnf: &["gcc-c++"],
    brew: &["llvm"],
};

/// Counters of branches, and a table of where they are, as libFuzzer reads them.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table";

/// For each target, where a call does not say.
const SECONDS: u64 = 60;

/// Larger inputs only take longer; the same as `MAX_BYTES` in crate/fuzz.
const MAX_INPUT_BYTES: usize = 256 << 10;

/// A case that takes this long has no end.
const TIMEOUT_SECONDS: u64 = 30;

/// Runs the targets one after the other; a finding in one does not keep the others from running.
pub fn run(args: &[String]) -> Result<()> {
    let all = target_names()?;
    let (mut seconds, mut targets) = (SECONDS, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let value = args.next().context("`--seconds` needs a number")?;
            seconds = value.parse().with_context(|| format!("`--seconds {value}`"))?;
        } else {
            ensure!(all.contains(arg), "there is no target `{arg}`; there are {}", all.join(", "));
            targets.push(arg.clone());
        }
    }
    if targets.is_empty() {
        targets = all;
    }
    let program = build()?;
    let mut failed = Vec::new();
    for target in targets {
        if let Err(error) = fuzz(&program, &target, seconds) {
            sh::step("fuzz", &format!("{target}: {error:#}"));
            failed.push(target);
        }
    }
    ensure!(failed.is_empty(), "findings in {}", failed.join(", "));
    Ok(())
}

/// Each target has a folder of seeds.
fn target_names() -> Result<Vec<String>> {
    let entries = fs::read_dir("crate/fuzz/seeds").context("cannot list crate/fuzz/seeds")?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn build() -> Result<PathBuf> {
    if CXX_COMPILERS.iter().all(|program| sh::find(program).is_none()) {
        packages::install(&CXX_PACKAGES)?;
    }
    let version = sh::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` does not name its host")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With a target named, the flags are not for build scripts.
    sh::run(
        Command::new(cargo)
            .args(["build", "--package", "embervec-fuzz", "--profile", "fuzz"])
            .args(["--features", "libfuzzer", "--bin", "libfuzzer", "--target", host])
            .env("RUSTFLAGS", RUSTFLAGS),
    )?;
    let program = format!("libfuzzer{}", env::consts::EXE_SUFFIX);
    Ok(target_dir()?.join(host).join("fuzz").join(program))
}

fn target_dir() -> Result<PathBuf> {
    let dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    env::current_dir().map(|here| here.join(dir)).context("the project's folder is gone")
}

fn fuzz(program: &Path, target: &str, seconds: u64) -> Result<()> {
    let folder = target_dir()?.join("libfuzzer").join(target);
    let [corpus, findings] = ["corpus", "findings"].map(|name| folder.join(name));
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let log = folder.join("log");
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = Command::new(program)
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_INPUT_BYTES}"))
        .arg(format!("-timeout={TIMEOUT_SECONDS}"))
        // A prefix, not a folder.
        .arg(format!("-artifact_prefix={}/", findings.display()))
        // Seeds are whole files from the beginning.
        .args(["-len_control=0", "-print_final_stats=1"])
        .env("EMBERVEC_FUZZ_TARGET", target)
        .env("EMBERVEC_FUZZ_SEEDS", &corpus)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let executions = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:").map(str::trim));
    sh::step("fuzz", &format!("{target}: {} executions", executions.unwrap_or("no")));
    if status.success() {
        return Ok(());
    }
    let problem: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: "))
        .take(2)
        .collect();
    let kept = text.lines().find_map(|line| line.split_once("Test unit written to "));
    bail!("{} ({})", problem.join(" "), kept.map_or("no input", |(_, path)| path))
}
