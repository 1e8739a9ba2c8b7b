//! A model folder's weights in 8 bits for a server, and the manifest that lets a browser verify every
//! file piece by piece.
//!
//! ```text
//! model.safetensors, piece by piece ─► TensorReader ─► model.q8.safetensors
//! every file of the folder ─► manifest.json
//! ```

mod manifest;
mod whole_file;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use embervec_bert::{BertConfig, KeyTable, TensorReader};
use embervec_embed::{FolderFile, FolderPlan, Loader, WeightDtype};

pub use manifest::{CHUNK_BYTES, Entry, MANIFEST_JSON, Manifest};

/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// What to pack, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model folder.
    pub folder: PathBuf,
    /// Another folder for the result; without one it is put beside the original weights.
    pub output: Option<PathBuf>,
    /// Bits of the values of embedding tables, at most 8.
    pub table_bits: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Packed {
    /// The folder that can be served now.
    pub folder: PathBuf,
    /// The path of the packed weights in it.
    pub weights: String,
    /// What `manifest.json` says.
    pub manifest: Manifest,
}

/// Packs a folder.
///
/// # Errors
///
/// When the folder is not one that a browser could load, when its weights are in 8 bits already, or
/// when a file cannot be read or written. Every error names the file.
pub fn pack(options: &Options) -> Result<Packed> {
    let folder = &options.folder;
    pack_folder(options).with_context(|| format!("cannot pack {}", folder.display()))
}

fn pack_folder(Options { folder, output, table_bits }: &Options) -> Result<Packed> {
    ensure!(folder.is_dir(), "it is not a folder");
    let plan = FolderPlan::new(read_if_there(&folder.join("modules.json"))?.as_deref())?;
    let files = plan.files();
    let small = small_files(folder, &files)?;
    // What a browser would refuse without the weights is refused here.
    Loader::new(&plan, small.clone(), WeightDtype::Q8, &Device::flex())?;

    let (original, packed) = transformer_weights(&files)?;
    let source = folder.join(original);
    if !source.exists() {
        ensure!(!folder.join(packed).exists(), "{packed}: its weights are in 8 bits already");
        bail!("{original} is missing");
    }
    let table = key_table(original, &small)?.with_table_bits(*table_bits);

    let target = match output {
        Some(output) if !is_same(output, folder) => {
            copy_files(folder, output, &files)?;
            output
        }
        _ => folder,
    };
    whole_file::write(&target.join(packed), |out| pack_weights(original, &source, table, out))?;
    let paths = files.iter().flat_map(|file| [Some(&file.path), file.packed.as_ref()]).flatten();
    let manifest = Manifest::new(target, paths.map(String::as_str))?;
    whole_file::write(&target.join(MANIFEST_JSON), |out| manifest.write(out))?;
    Ok(Packed { folder: target.clone(), weights: packed.into(), manifest })
}

fn small_files(folder: &Path, files: &[FolderFile]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut small = BTreeMap::new();
    for file in files.iter().filter(|file| !file.weights) {
        if let Some(bytes) = read_if_there(&folder.join(&file.path))? {
            small.insert(file.path.clone(), bytes);
        }
    }
    Ok(small)
}

/// The paths of the transformer's weights, as they are and packed.
fn transformer_weights(files: &[FolderFile]) -> Result<(&str, &str)> {
    let mut pairs = files.iter().filter_map(|file| Some((&*file.path, file.packed.as_deref()?)));
    pairs.next().context("modules.json names no transformer")
}

/// The tensors of the weight file `weights`. sentence-transformers never uses the pooler, so a folder
/// of its kind does without.
fn key_table(weights: &str, small: &BTreeMap<String, Vec<u8>>) -> Result<KeyTable> {
    let (folder, _) = weights.rsplit_once('/').unwrap_or_default();
    let path =
        if folder.is_empty() { "config.json".into() } else { format!("{folder}/config.json") };
    let json = small.get(&path).with_context(|| format!("{path} is missing"))?;
    let table = KeyTable::bert(&BertConfig::from_json(&path, json)?);
    Ok(if small.contains_key("modules.json") { table.without_pooler() } else { table })
}

/// Copies what a loader wants beside the transformer's weights.
fn copy_files(folder: &Path, output: &Path, files: &[FolderFile]) -> Result<()> {
    for file in files {
        let (source, target) = (folder.join(&file.path), output.join(&file.path));
        if file.packed.is_none() && source.exists() {
            whole_file::write(&target, |out| {
                let mut source = File::open(&source)?;
                std::io::copy(&mut source, out).map(drop).map_err(Into::into)
            })?;
        } else {
            // A loader would take it for a part of this model.
            ensure!(!target.exists(), "{} is in the way; delete it", target.display());
            ensure!(file.packed.is_some() || !file.required, "{} is missing", file.path);
        }
    }
    Ok(())
}

/// Reads the weight file `name` from `source` and writes it in 8 bits.
fn pack_weights(name: &str, source: &Path, table: KeyTable, out: &mut dyn Write) -> Result<()> {
    let cannot_read = || format!("cannot read {}", source.display());
    let mut file = File::open(source).with_context(cannot_read)?;
    let mut reader = TensorReader::new(name, table, WeightDtype::Q8);
    let mut piece = vec![0; PIECE_BYTES];
    let mut is_empty = true;
    loop {
        let count = file.read(&mut piece).with_context(cannot_read)?;
        if count == 0 {
            break;
        }
        reader.push(&piece[..count])?;
        let converted = reader.take_converted();
        is_empty &= converted.is_empty();
        out.write_all(&converted)?;
    }
    reader.finish()?;
    ensure!(!is_empty, "{name}: its weights are in 8 bits already");
    Ok(())
}

/// The size of a file as served with `Content-Encoding: br`.
///
/// # Errors
///
/// When it cannot be read.
pub fn brotli_size(path: &Path, quality: i32) -> Result<u64> {
    struct Count(u64);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let params = brotli::enc::BrotliEncoderParams { quality, ..Default::default() };
    let mut count = Count(0);
    File::open(path)
        .and_then(|mut file| brotli::BrotliCompress(&mut file, &mut count, &params))
        .with_context(|| format!("cannot compress {}", path.display()))?;
    Ok(count.0)
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
