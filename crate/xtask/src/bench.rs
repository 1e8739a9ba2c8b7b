//! `cargo xtask bench`: measurements in a browser, beside transformers.js.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{browsers, build, model, npm, python, sh, wasm};

/// Builds everything, then runs the benchmark with these arguments.
pub fn run(args: &[String]) -> Result<()> {
    // The model first, because the build publishes it.
    model::ensure()?;
    build::www()?;
    wasm::build_kernel_tests()?;
    let dir = sh::root().join("tests").join("bench");
    npm::ensure_in(&dir)?;
    let onnx = export_onnx(&dir)?;
    let chrome = browsers::chromium()?;
    sh::step("bench", "running tests/bench/run.ts");
    let mut bench = npm::node_ts();
    sh::run(bench.arg(dir.join("run.ts")).args(args).env("CHROME", chrome).env("BENCH_ONNX", onnx))
}

/// The folder with the model as transformers.js needs it.
fn export_onnx(dir: &Path) -> Result<PathBuf> {
    let onnx = sh::cache_dir()?.join("onnx");
    let script = dir.join("export_onnx.py");
    if sh::is_fresh(&onnx.join(model::NAME), &script) {
        return Ok(onnx);
    }
    let python = python::venv("bench", &dir.join("requirements.txt"))?;
    sh::step("bench", "exporting the model to ONNX for transformers.js");
    let folder = sh::root().join("www").join("models").join(model::NAME);
    sh::run(Command::new(python).arg(&script).arg(folder).arg(onnx.join(model::NAME)))
        .context("the model cannot be exported to ONNX")?;
    Ok(onnx)
}
