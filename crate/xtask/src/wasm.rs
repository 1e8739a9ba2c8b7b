//! `cargo xtask wasm`: the crate `embervec-wasm` to `pkg/wasm/<variant>/`, in three steps: cargo, wasm-bindgen, wasm-opt;
//! and the kernels' tests to `tests/.build`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::{npm, sh, toolchain};

const PACKAGE: &str = "embervec-wasm";

/// The CPU's modules. One with a single relaxed instruction does not validate where the engine lacks them, so there are
/// two.
const CPU: [Variant; 2] = [
    // For every browser: WebAssembly's fixed-width SIMD.
    Variant {
        name: "simd128",
        profile: "release",
        sources: CPU_SOURCES,
        cargo_args: &[],
        opt_args: CPU_OPT_ARGS,
    },
    Variant {
        name: "relaxed",
        profile: "release",
        sources: CPU_SOURCES,
        cargo_args: &["--features", "relaxed"],
        opt_args: &[CPU_OPT_ARGS[0], CPU_OPT_ARGS[1], "--enable-relaxed-simd"],
    },
];

/// The encoder alone, for WebGPU.
const WEBGPU: Variant = Variant {
    name: "webgpu",
    profile: "webgpu",
    sources: &["inventory", "json", "kernels", "weights", "encoder", "wasm/src/webgpu.rs"],
    cargo_args: &["--no-default-features", "--features", "webgpu"],
    // Compresses a little better than -Os, and than with what is called once inlined.
    opt_args: &["-Oz"],
};

/// The index.
const SEARCH: Variant = Variant {
    name: "search",
    profile: "search",
    sources: &["json", "kernels", "search", "wasm/src/search.rs"],
    cargo_args: &["--no-default-features", "--features", "search"],
    opt_args: &["-O3"],
};

const VARIANTS: [&Variant; 4] = [&CPU[0], &CPU[1], &WEBGPU, &SEARCH];

struct Variant {
    name: &'static str,
    profile: &'static str,
    /// Crates and files of `crate/` that only some modules are made of.
    sources: &'static [&'static str],
    cargo_args: &'static [&'static str],
    opt_args: &'static [&'static str],
}

const CPU_SOURCES: &[&str] = &[
    "inventory",
    "json",
    "kernels",
    "weights",
    "tokenizer",
    "encoder",
    "embed",
    "wasm/src/cpu.rs",
];

/// Name of the files that wasm-bindgen writes: `embervec.js`, `embervec_bg.wasm` and their declarations.
const OUT_NAME: &str = "embervec";

/// Not even what is called from one place is inlined: V8 gives a function its fast code when it is entered anew, and the
/// kernels are cut accordingly.
const CPU_OPT_ARGS: &[&str] = &["-O3", "--one-caller-inline-max-function-size=64"];

/// What wasm-opt may use is what rustc was told to use, and nothing newer.
const OPT_ARGS: [&str; 10] = [
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

/// One module, as the lints see it.
pub struct Module {
    pub name: &'static str,
    /// Arguments of cargo: which package, with which features.
    pub cargo_args: Vec<&'static str>,
    /// Folders of `crate/` that it is made of.
    pub sources: &'static [&'static str],
}

pub fn modules() -> impl Iterator<Item = Module> {
    VARIANTS.into_iter().map(|variant| Module {
        name: variant.name,
        cargo_args: ["-p", PACKAGE].iter().chain(variant.cargo_args).copied().collect(),
        sources: variant.sources,
    })
}

/// Builds all modules, or these.
pub fn run(names: &[String]) -> Result<()> {
    if names.is_empty() {
        return build();
    }
    let known = VARIANTS.map(|variant| variant.name);
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no module `{name}`; there are {}", known.join(", "));
    }
    npm::ensure()?;
    let chosen = |variant: &&Variant| names.iter().any(|name| name == variant.name);
    VARIANTS.into_iter().filter(chosen).try_for_each(build_variant)
}

/// Builds the modules, and does nothing for one when neither its sources nor this recipe have changed.
pub fn build() -> Result<()> {
    npm::ensure()?;
    VARIANTS.into_iter().try_for_each(build_variant)?;
    // The worker takes the one interface for either module.
    let interfaces = CPU.map(|variant| {
        let file = sh::root().join("pkg/wasm").join(variant.name).join(format!("{OUT_NAME}.js"));
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    });
    let [simd128, relaxed] = interfaces;
    ensure!(simd128? == relaxed?, "the two modules have different JavaScript interfaces");
    Ok(())
}

fn build_variant(variant: &Variant) -> Result<()> {
    let out = sh::root().join("pkg").join("wasm").join(variant.name);
    let stamp_file = out.join(".stamp");
    // Cargo cannot tell: both variants have the same file name, so each build makes the other one old.
    let stamp = stamp(variant)?;
    if fs::read_to_string(&stamp_file).is_ok_and(|previous| previous == stamp) {
        sh::step("wasm", &format!("{PACKAGE}, {}, is up to date", variant.name));
        // Its time says when it was last compared with the sources (`pkg/prepack.mjs`).
        return write_stamp(&stamp_file, &stamp);
    }
    sh::step("wasm", &format!("compiling {PACKAGE}, {}", variant.name));
    let compiled =
        compile(PACKAGE, &[], variant)?.join(format!("{}.wasm", PACKAGE.replace('-', "_")));
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    bind(&compiled, &out)?;
    optimise(&out.join(format!("{OUT_NAME}_bg.wasm")), variant)?;
    write_stamp(&stamp_file, &stamp)
}

fn write_stamp(file: &Path, stamp: &str) -> Result<()> {
    fs::write(file, stamp).with_context(|| format!("cannot write {}", file.display()))
}

/// Builds the kernels' tests and timings for the browser, `tests/.build/kernels-<variant>.wasm`.
pub fn build_kernel_tests() -> Result<()> {
    let out = sh::root().join("tests").join(".build");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    for variant in &CPU {
        sh::step("wasm", &format!("compiling the kernels' tests, {}", variant.name));
        let release = compile("embervec-kernels", &["--example", "browser"], variant)?;
        let module = release.join("examples").join("browser.wasm");
        fs::copy(&module, out.join(format!("kernels-{}.wasm", variant.name)))
            .with_context(|| format!("cannot copy {}", module.display()))?;
    }
    Ok(())
}

/// Gives the folder of what was compiled.
fn compile(package: &str, args: &[&str], variant: &Variant) -> Result<PathBuf> {
    let mut cargo = toolchain::cargo("build")?;
    // A folder of its own: neither waits for nor evicts what the native builds leave.
    let target_dir = target_dir()?.join("wasm");
    cargo.args(["--profile", variant.profile, "--package", package]).args(args);
    sh::run(cargo.args(variant.cargo_args).arg("--target-dir").arg(&target_dir))?;
    Ok(target_dir.join(toolchain::TARGET).join(variant.profile))
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

/// All that the module is made of: the crates, the versions of their dependencies (and so of wasm-bindgen), the
/// compiler, the recipe.
fn stamp(variant: &Variant) -> Result<String> {
    let root = sh::root();
    let mut files = vec![
        root.join("Cargo.toml"),
        root.join("Cargo.lock"),
        root.join(".cargo").join("config.toml"),
        // Of the npm packages, only what brings wasm-opt.
        root.join("node_modules").join("binaryen").join("package.json"),
    ];
    // A change of one module's interface leaves the others as they are.
    for name in variant.sources.iter().chain(&["wasm/Cargo.toml", "wasm/src/lib.rs"]) {
        let path = root.join("crate").join(name);
        if path.is_dir() {
            files.push(path.join("Cargo.toml"));
            collect(&path.join("src"), &mut files)?;
        } else {
            files.push(path);
        }
    }
    files.sort();
    let mut bytes = Vec::new();
    for file in files {
        bytes.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    let rustc = sh::output(Command::new("rustc").arg("--version"))?;
    let args = [variant.opt_args, &OPT_ARGS, variant.cargo_args].concat().join(" ");
    Ok(format!("{}\n{rustc}\n{args}\n", sh::sha256(&bytes)))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", dir.display()))?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
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

fn optimise(module: &Path, variant: &Variant) -> Result<()> {
    sh::step("wasm", "optimising with wasm-opt");
    let mut wasm_opt = npm::bin("wasm-opt");
    wasm_opt.args(variant.opt_args).args(OPT_ARGS);
    sh::run(wasm_opt.arg(module).arg("--output").arg(module))
}
