//! `cargo xtask bench`: measurements in a browser.

use anyhow::Result;

use crate::{build, chromium, model, npm, sh};

/// Builds everything, then runs the benchmark with these arguments.
pub fn run(args: &[String]) -> Result<()> {
    build::www()?;
    model::ensure()?;
    let dir = sh::root().join("tests").join("bench");
    npm::ensure_in(&dir)?;
    let chrome = chromium::ensure()?;
    sh::step("bench", "running tests/bench/run.ts");
    sh::run(npm::node_ts().arg(dir.join("run.ts")).args(args).env("CHROME", chrome))
}
