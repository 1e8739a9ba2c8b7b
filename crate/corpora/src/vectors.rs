//! Vectors of passages, computed once.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process;
use std::thread;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use embervec_embed::{Embedder, EncodeOptions, Task, WeightDtype, open_folder};
use sha2::{Digest, Sha256};

/// So many passages are encoded anew when vectors come from the cache, to see that this build still gives the same.
const PROBES: usize = 16;

/// How far they may be: the last bits depend on how the program was compiled, and in 8 bits a value may be rounded the other way.
const TOLERANCE: f32 = 1e-3;

/// How many passages a thread encodes before it says so.
const BATCH: usize = 64;

/// The vectors of some passages.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// `[passages, dimension]`
    pub values: Vec<f32>,
    /// Length of one.
    pub dimension: usize,
}

/// Encodes passages as documents with a model folder, or takes their vectors from `cache`.
///
/// # Errors
///
/// When the model cannot be loaded, or a file of the cache cannot be written.
pub fn encode(
    model: &Path,
    dtype: WeightDtype,
    passages: &[&str],
    cache: &Path,
    progress: &mut dyn FnMut(usize),
) -> Result<Vectors> {
    let open = || open_folder(model, dtype, &Device::flex()).map_err(anyhow::Error::from);
    let embedder = open()?;
    let dimension = embedder.dimension();
    let path = cache.join(format!("{}.f32", key(model, dtype, passages)?));
    if let Some(values) = cached(&path, passages, &embedder)? {
        return Ok(Vectors { values, dimension });
    }

    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = passages.len().div_ceil(threads).max(1);
    let (sender, receiver) = std::sync::mpsc::channel();
    let values = thread::scope(|scope| {
        let workers: Vec<_> = passages
            .chunks(share)
            .map(|passages| {
                let sender = sender.clone();
                scope.spawn(move || -> Result<Vec<f32>> {
                    let embedder = open()?;
                    let mut values = Vec::with_capacity(passages.len() * embedder.dimension());
                    for batch in passages.chunks(BATCH) {
                        values.extend(encode_with(&embedder, batch)?);
                        // Whoever listens may have gone.
                        let _ = sender.send(batch.len());
                    }
                    Ok(values)
                })
            })
            .collect();
        drop(sender);
        let mut done = 0;
        for count in receiver {
            done += count;
            progress(done);
        }
        let parts = workers.into_iter().map(|worker| match worker.join() {
            Ok(values) => values,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        parts.collect::<Result<Vec<_>>>().map(|parts| parts.concat())
    })?;
    store(&path, &values)?;
    Ok(Vectors { values, dimension })
}

fn encode_with(embedder: &Embedder, passages: &[&str]) -> Result<Vec<f32>> {
    let options = EncodeOptions { task: Some(Task::Document), ..EncodeOptions::default() };
    let encoded = embedder.encode(passages, &options)?;
    let cut = encoded.truncated.iter().position(|&truncated| truncated);
    ensure!(
        cut.is_none(),
        "a passage is longer than the model takes: {}",
        passages[cut.unwrap_or(0)]
    );
    Ok(encoded.vectors)
}

/// A hash of all that the vectors are made of, but for this program, for which [`cached`] looks.
fn key(model: &Path, dtype: WeightDtype, passages: &[&str]) -> Result<String> {
    let made_of = format!("{} {}", weights_sha256(model, dtype)?, passages_sha256(passages));
    Ok(hex(&Sha256::digest(made_of)))
}

/// The SHA-256 of passages, each after its number of bytes.
pub fn passages_sha256(passages: &[&str]) -> String {
    let mut hash = Sha256::new();
    for passage in passages {
        hash.update((passage.len() as u64).to_le_bytes());
        hash.update(passage);
    }
    hex(&hash.finalize())
}

/// The SHA-256 of the file of weights that [`open_folder`] reads.
///
/// # Errors
///
/// When there is none.
pub fn weights_sha256(model: &Path, dtype: WeightDtype) -> Result<String> {
    let packed = model.join("model.q8.safetensors");
    let path = match dtype {
        WeightDtype::Q8 if packed.is_file() => packed,
        _ => model.join("model.safetensors"),
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

fn cached(path: &Path, passages: &[&str], embedder: &Embedder) -> Result<Option<Vec<f32>>> {
    let Ok(bytes) = fs::read(path) else {
        return Ok(None);
    };
    let dimension = embedder.dimension();
    if bytes.len() != passages.len() * dimension * size_of::<f32>() {
        return Ok(None);
    }
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    for row in (0..passages.len()).step_by(passages.len().div_ceil(PROBES).max(1)) {
        let anew = encode_with(embedder, &passages[row..=row])?;
        let kept = &values[row * dimension..][..dimension];
        if !anew.iter().zip(kept).all(|(anew, kept)| (anew - kept).abs() <= TOLERANCE) {
            return Ok(None);
        }
    }
    Ok(Some(values))
}

/// It gets its name only when it is whole.
fn store(path: &Path, values: &[f32]) -> Result<()> {
    let partial = path.with_extension(format!("partial-{}", process::id()));
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(
            &partial,
            values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(),
        )?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
