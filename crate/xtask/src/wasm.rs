//! `cargo xtask wasm`: the crate `embervec-wasm` to `pkg/wasm/<variant>/`, in three steps: cargo, wasm-bindgen, wasm-opt.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::{npm, sh, toolchain};

const PACKAGE: &str = "embervec-wasm";

/// The one for every browser: WebAssembly's fixed-width SIMD, no relaxed instructions.
const VARIANT: &str = "simd128";

/// Name of the files that wasm-bindgen writes: `embervec.js`, `embervec_bg.wasm` and their declarations.
const OUT_NAME: &str = "embervec";

/// What wasm-opt may use is what rustc was told to use, and nothing newer.
const OPT_ARGS: [&str; 11] = [
    "-O3",
    "--strip-debug",
    "--strip-producers",
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
];

/// Builds the module, and does nothing when neither the sources nor this recipe have changed.
pub fn build() -> Result<()> {
    npm::ensure()?;
    let compiled = compile()?;
    let out = sh::root().join("pkg").join("wasm").join(VARIANT);

    let stamp_file = out.join(".stamp");
    let stamp = stamp(&compiled)?;
    if fs::read_to_string(&stamp_file).is_ok_and(|previous| previous == stamp) {
        sh::step("wasm", "up to date");
        return Ok(());
    }
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    bind(&compiled, &out)?;
    optimise(&out.join(format!("{OUT_NAME}_bg.wasm")))?;
    fs::write(&stamp_file, stamp).with_context(|| format!("cannot write {}", stamp_file.display()))
}

fn compile() -> Result<PathBuf> {
    let mut cargo = toolchain::cargo_build()?;
    // A folder of its own: neither waits for nor evicts what the native builds leave.
    let target_dir = target_dir()?.join("wasm");
    sh::step("wasm", &format!("compiling {PACKAGE}"));
    sh::run(cargo.args(["--release", "--package", PACKAGE]).arg("--target-dir").arg(&target_dir))?;
    let file = format!("{}.wasm", PACKAGE.replace('-', "_"));
    Ok(target_dir.join(toolchain::TARGET).join("release").join(file))
}

/// The target folder that this program itself lies in, whatever made cargo choose it.
fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let dir = program
        .ancestors()
        .nth(2)
        .context("this program is in no target folder; run it with `cargo xtask`")?;
    Ok(dir.to_owned())
}

fn stamp(compiled: &Path) -> Result<String> {
    let module =
        fs::read(compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    // The module names the version of wasm-bindgen itself.
    Ok(format!("{}\nwasm-opt {}\n", sh::sha256(&module), OPT_ARGS.join(" ")))
}

fn bind(module: &Path, out: &Path) -> Result<()> {
    sh::step("wasm", "generating the JavaScript interface with wasm-bindgen");
    Bindgen::new()
        .input_path(module)
        .out_name(OUT_NAME)
        .web(true)?
        .typescript(true)
        // The package names the file itself; a path in here would be resolved by a bundler.
        .omit_default_module_path(true)
        // A third of the file. Not by `strip` in cargo's profile: wasm-bindgen reads the names.
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(out)
        .with_context(|| format!("wasm-bindgen cannot process {}", module.display()))
}

fn optimise(module: &Path) -> Result<()> {
    sh::step("wasm", "optimising with wasm-opt");
    sh::run(npm::bin("wasm-opt").args(OPT_ARGS).arg(module).arg("--output").arg(module))
}
