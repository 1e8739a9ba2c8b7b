//! Model folders on a disk, for native programs and tests.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use burn::tensor::Device;
use embervec_weights::WeightDtype;
use embervec_weights::limits::MAX_SMALL_FILE_BYTES;

use crate::{Embedder, Error, FileKind, Folder, FolderFile, Loader, Result};

/// Weights are read in pieces of this size: enough for the disk to be busy, little beside a model.
const PIECE_BYTES: usize = 1 << 20;

/// Loads a model folder. With [`WeightDtype::Q8`], weights that are stored in 8 bits are preferred.
///
/// # Errors
///
/// When a file is missing, cannot be read, or is invalid.
pub fn open_folder(path: &Path, dtype: WeightDtype, device: &Device) -> Result<Embedder> {
    let folder = read_folder(path)?;
    let mut loader = Loader::new(&folder, dtype, device)?;
    for file in folder.weights()? {
        push_file(&mut loader, path, &weight_file(path, file, dtype)?)?;
    }
    loader.finish()
}

/// Reads the small files of a model folder, and finds its weights.
///
/// # Errors
///
/// As [`open_folder`].
pub fn read_folder(path: &Path) -> Result<Folder> {
    let mut folder = Folder::default();
    loop {
        let wanted = folder.wanted()?;
        if wanted.is_empty() {
            return Ok(folder);
        }
        for file in wanted {
            match file.kind {
                FileKind::Small => match read_if_there(path, &file.path)? {
                    Some(bytes) => folder.put(&file.path, bytes)?,
                    None => folder.absent(&file.path),
                },
                FileKind::Weights | FileKind::Probe => {
                    let names = [Some(&file.path), file.packed.as_ref()];
                    let mut is_there = false;
                    for name in names.into_iter().flatten() {
                        is_there |= is_plain_file(path, name)?;
                    }
                    match is_there {
                        true => folder.found(&file.path),
                        false => folder.absent(&file.path),
                    }
                }
            }
        }
    }
}

/// The file of the folder to read these weights from.
fn weight_file(folder: &Path, file: FolderFile, dtype: WeightDtype) -> Result<String> {
    let Some(packed) = file.packed.filter(|packed| folder.join(packed).is_file()) else {
        return Ok(file.path);
    };
    if dtype == WeightDtype::Q8 {
        return Ok(packed);
    }
    if folder.join(&file.path).is_file() {
        return Ok(file.path);
    }
    let what = format!("dtype \"{}\" for a folder that has only 8-bit weights", dtype.name());
    Err(Error::unsupported(&packed, what, "dtype \"q8\""))
}

fn push_file(loader: &mut Loader, folder: &Path, path: &str) -> Result<()> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::missing(path),
        _ => Error::Io { file: path.into(), source },
    };
    let mut file = File::open(folder.join(path)).map_err(failed)?;
    let file_len = file.metadata().map_err(failed)?.len();
    loader.begin_weights(path, Some(file_len))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece).map_err(failed)?;
        if count == 0 {
            return loader.end_weights();
        }
        loader.push_weights(&piece[..count])?;
        // The file on the disk stays as it is.
        drop(loader.take_converted());
    }
}

/// Whether a file is there that can be read to its end.
fn is_plain_file(folder: &Path, name: &str) -> Result<bool> {
    match fs::metadata(folder.join(name)) {
        Ok(metadata) if !metadata.is_file() => Err(not_plain(name)),
        found => Ok(found.is_ok()),
    }
}

/// A pipe would be waited for, and a device may have no end.
fn not_plain(name: &str) -> Error {
    Error::Damaged { file: name.into(), problem: "is not a plain file".into() }
}

fn read_if_there(folder: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let damaged = |problem: String| Error::Damaged { file: name.into(), problem };
    let failed = |source: std::io::Error| match source.kind() {
        // Where a file stands in the place of a folder, there is no file in it.
        ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
        _ => Err(Error::Io { file: name.into(), source }),
    };
    let path = folder.join(name);
    match fs::metadata(&path) {
        Err(error) => return failed(error),
        Ok(metadata) if !metadata.is_file() => return Err(not_plain(name)),
        Ok(metadata) if metadata.len() > MAX_SMALL_FILE_BYTES as u64 => {
            let size = metadata.len();
            return Err(damaged(format!(
                "has {size} bytes; the maximum for a file of this kind is {MAX_SMALL_FILE_BYTES}"
            )));
        }
        Ok(_) => {}
    }
    fs::read(path).map_or_else(failed, |bytes| Ok(Some(bytes)))
}
