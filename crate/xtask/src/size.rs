//! `cargo xtask size`: how much a page downloads before it can load a model.

use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::sh;

/// Brotli bytes of everything a page fetches for the CPU path: the package's JavaScript and one wasm module. Two fifths
/// of it are the tokenizer's Unicode tables; the families beside BERT, with their tokenizers, are 13 kB, rotary positions, gates,
/// windows and older names 18 kB, which were saved elsewhere, and static models and two further families 7 kB. The model itself is 20
/// to 100 times this.
const CPU_BUDGET: usize = 756_000;

/// The same of what a page fetches on top of it for a GPU: a worker's JavaScript and one wasm module. ONNX Runtime Web
/// needs 3.9 MB. Were CubeCL's compiler linked whole, it would be twice this. Rotary positions, windows, biases and gates are 8 kB of
/// it, mostly sines and powers.
const GPU_BUDGET: usize = 444_000;

/// Before compression, of the GPU's module.
const GPU_RAW_BUDGET: usize = 1_500_000;

/// The same of what a page fetches for an index beside them: one wasm module. A tenth of it are tables for reading numbers.
const SEARCH_BUDGET: usize = 64_000;

/// Before compression.
const SEARCH_RAW_BUDGET: usize = 150_000;

/// What web servers use when they compress ahead of time.
const BROTLI_QUALITY: i32 = 11;
const BROTLI_WINDOW: i32 = 22;

/// What a page fetches. Adapters, and what is for Node, cost it nothing.
const FETCHED: [&str; 7] = [
    "index.js",
    "worker.js",
    "gpu.js",
    "embervec-simd128.wasm",
    "embervec-relaxed.wasm",
    "embervec-webgpu.wasm",
    "embervec-search.wasm",
];

struct Artefact {
    name: String,
    raw: usize,
    compressed: usize,
}

/// Prints the sizes of `pkg/dist` and fails when they are above the budget.
pub fn check() -> Result<()> {
    let dist = sh::root().join("pkg").join("dist");
    let artefacts = measure(&dist)?;
    for Artefact { name, raw, compressed } in &artefacts {
        println!("{raw:>9} {compressed:>9}  {name}");
    }
    println!("      raw    brotli");
    let (search, others): (Vec<_>, Vec<_>) =
        artefacts.iter().partition(|artefact| is_for_search(artefact));
    let (gpu, cpu): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|artefact| is_for_gpu(artefact));
    within(
        "search wasm, brotli",
        search.iter().map(|artefact| artefact.compressed).sum(),
        SEARCH_BUDGET,
    )?;
    within(
        "search wasm, raw",
        search.iter().map(|artefact| artefact.raw).sum(),
        SEARCH_RAW_BUDGET,
    )?;
    within("CPU wasm + JavaScript, brotli", cpu_download(&cpu), CPU_BUDGET)?;
    within(
        "GPU wasm + JavaScript, brotli",
        gpu.iter().map(|artefact| artefact.compressed).sum(),
        GPU_BUDGET,
    )?;
    within(
        "GPU wasm + JavaScript, raw",
        gpu.iter().map(|artefact| artefact.raw).sum(),
        GPU_RAW_BUDGET,
    )
}

fn within(what: &str, bytes: usize, budget: usize) -> Result<()> {
    println!("{what}: {bytes} of {budget} bytes");
    if bytes > budget {
        bail!(
            "{what}: {bytes} bytes are {} more than the budget of {budget}: find what grew above, or raise it in \
             crate/xtask/src/size.rs and say why",
            bytes - budget
        );
    }
    Ok(())
}

/// `gpu.js` and `embervec-webgpu.wasm`.
fn is_for_gpu(artefact: &Artefact) -> bool {
    artefact.name.contains("gpu")
}

/// `embervec-search.wasm`.
fn is_for_search(artefact: &Artefact) -> bool {
    artefact.name.contains("search")
}

fn measure(dist: &Path) -> Result<Vec<Artefact>> {
    // At once: the best compression of a wasm module takes ten seconds.
    thread::scope(|scope| {
        let measured: Vec<_> =
            FETCHED.iter().map(|name| scope.spawn(move || measure_one(dist, name))).collect();
        let results = measured.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        });
        results.collect()
    })
}

fn measure_one(dist: &Path, name: &str) -> Result<Artefact> {
    let file = dist.join(name);
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut bytes.as_slice(), &mut compressed, &params)?;
    Ok(Artefact { name: name.to_owned(), raw: bytes.len(), compressed: compressed.len() })
}

/// All JavaScript, and of the wasm modules the largest: a page fetches only one.
fn cpu_download(artefacts: &[&Artefact]) -> usize {
    let (wasm, js): (Vec<&Artefact>, Vec<_>) =
        artefacts.iter().copied().partition(|artefact| artefact.name.ends_with(".wasm"));
    let js: usize = js.iter().map(|artefact| artefact.compressed).sum();
    js + wasm.iter().map(|artefact| artefact.compressed).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_module_counts() {
        let artefact =
            |name: &str, compressed| Artefact { name: name.to_owned(), raw: 0, compressed };
        let artefacts = [
            artefact("index.js", 1),
            artefact("worker.js", 2),
            artefact("simd128.wasm", 10),
            artefact("relaxed.wasm", 20),
        ];
        assert_eq!(cpu_download(&artefacts.each_ref()), 23);
    }
}
