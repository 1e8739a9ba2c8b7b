//! A model folder's weights in 8 bits for a server, and the manifest that lets a browser verify every
//! file piece by piece.
//!
//! ```text
//! model.safetensors, piece by piece ─► Loader ─► model.q8.safetensors
//! every file of the folder ─► manifest.json
//! ```

mod manifest;
mod whole_file;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use embervec_embed::{Folder, FolderFile, Loader, WeightDtype, read_folder};
use embervec_weights::{Header, merge_headers};

pub use manifest::{CHUNK_BYTES, Entry, MANIFEST_JSON, Manifest};

/// The transformer's weights in 8 bits.
const PACKED: &str = "model.q8.safetensors";

/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// What to pack, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model folder.
    pub folder: PathBuf,
    /// A folder for the result. Without one it is written beside the original weights.
    pub output: Option<PathBuf>,
    /// Bits of the values of embedding tables, at most 8.
    pub table_bits: u32,
}

/// The result.
#[derive(Debug)]
pub struct Packed {
    /// The folder, which can now be served.
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
/// When a browser could not load the folder, when its weights are already in 8 bits, or
/// when a file cannot be read or written. Every error names the file.
pub fn pack(options: &Options) -> Result<Packed> {
    let folder = &options.folder;
    pack_folder(options).with_context(|| format!("cannot pack {}", folder.display()))
}

fn pack_folder(Options { folder: path, output, table_bits }: &Options) -> Result<Packed> {
    ensure!(path.is_dir(), "it is not a folder");
    let folder = read_folder(path)?;
    // What a browser would refuse without the weights is refused here.
    let mut loader = Loader::new(&folder, WeightDtype::Q8, &Device::flex())?;
    loader.pack(&folder, *table_bits);

    let (encoder, layers): (Vec<_>, Vec<_>) =
        folder.weights()?.into_iter().partition(|file| file.packed.is_some());
    let packed = packed_name(&encoder)?;
    let sources =
        encoder.iter().map(|file| Source::open(path, &file.path)).collect::<Result<Vec<_>>>();
    let sources = sources.with_context(|| match path.join(&packed).is_file() {
        true => {
            format!("{packed}: the weights are already in 8 bits, and packing needs the originals")
        }
        false => "packing needs the original weights".into(),
    })?;

    let target = match output {
        Some(output) if !is_same(output, path) => {
            refuse_leftovers(output, &folder, &encoder)?;
            copy_files(path, output, &folder, &layers)?;
            output
        }
        _ => path,
    };
    whole_file::write(target, &packed, |out| pack_weights(sources, loader, out))?;
    let layers = layers.iter().map(|file| file.path.as_str());
    let originals = encoder.iter().map(|file| file.path.as_str());
    let paths = folder.paths().chain(layers).chain(originals).chain([packed.as_str()]);
    let manifest = Manifest::new(target, paths)?;
    whole_file::write(target, MANIFEST_JSON, |out| manifest.write(out))?;
    Ok(Packed { folder: target.clone(), weights: packed, manifest })
}

/// Where the transformer's weights are to be, in one file whatever they were before.
fn packed_name(encoder: &[FolderFile]) -> Result<String> {
    let first = encoder.first().context("the folder has no transformer")?;
    if encoder.len() == 1 {
        return first.packed.clone().context("the folder has no transformer");
    }
    Ok(match first.path.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{PACKED}"),
        None => PACKED.into(),
    })
}

/// A weight file that is open.
struct Source {
    /// Its path within the folder, for messages.
    name: String,
    path: PathBuf,
    file: File,
}

impl Source {
    fn open(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        ensure!(path.exists(), "{name} is missing");
        // A pipe would be waited for, and a device may have no end.
        ensure!(path.is_file(), "{name} is not a plain file");
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name: name.into(), path, file })
    }

    /// Reads the next bytes; 0 at the end.
    fn read(&mut self, piece: &mut [u8]) -> Result<usize> {
        let Self { path, file, .. } = self;
        file.read(piece).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Refuses a target in which a loader would take files of another model for a part of this one.
fn refuse_leftovers(output: &Path, folder: &Folder, encoder: &[FolderFile]) -> Result<()> {
    let originals = encoder.iter().map(|file| file.path.as_str());
    for path in folder.absent_paths().chain(originals) {
        let target = output.join(path);
        ensure!(
            target.symlink_metadata().is_err(),
            "{} already exists; delete it first",
            target.display()
        );
    }
    Ok(())
}

/// Copies what a loader wants beside the transformer's weights.
fn copy_files(path: &Path, output: &Path, folder: &Folder, layers: &[FolderFile]) -> Result<()> {
    for name in folder.paths() {
        // It is about weights that are not copied.
        if !name.ends_with(".safetensors.index.json") {
            let bytes = folder.get(name).unwrap_or_default();
            whole_file::write(output, name, |out| Ok(out.write_all(bytes)?))?;
        }
    }
    for FolderFile { path: name, .. } in layers {
        let mut source = Source::open(path, name)?;
        whole_file::write(output, name, |out| {
            std::io::copy(&mut source.file, out).map(drop).map_err(Into::into)
        })?;
    }
    Ok(())
}

/// Reads weights and writes them in 8 bits.
fn pack_weights(mut sources: Vec<Source>, mut loader: Loader, out: &mut dyn Write) -> Result<()> {
    let name = sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    loader.begin_weights(&name, None)?;
    if sources.len() > 1 {
        // As if they were one file.
        let headers = sources.iter_mut().map(|source| Header::read(&source.name, &mut source.file));
        loader.push_weights(&merge_headers(&headers.collect::<Result<Vec<_>, _>>()?))?;
    }
    let mut piece = vec![0; PIECE_BYTES];
    let mut is_empty = true;
    for mut source in sources {
        loop {
            let count = source.read(&mut piece)?;
            if count == 0 {
                break;
            }
            loader.push_weights(&piece[..count])?;
            let converted = loader.take_converted();
            is_empty &= converted.is_empty();
            out.write_all(&converted)?;
        }
    }
    loader.end_weights()?;
    ensure!(!is_empty, "{name}: the weights are already in 8 bits");
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
