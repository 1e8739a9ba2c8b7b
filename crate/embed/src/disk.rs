//! Model folders on a disk, for native programs and tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use burn::tensor::Device;
use embervec_bert::WeightDtype;

use crate::{Embedder, Error, FolderFile, FolderPlan, Loader, Result};

/// Weights are read in pieces of this size: enough for the disk to be busy, little beside a model.
const PIECE_BYTES: usize = 1 << 20;

/// Loads a model folder. For [`WeightDtype::Q8`] weights that are stored in 8 bits are preferred.
///
/// # Errors
///
/// When a file is missing, cannot be read, or is not what it should be.
pub fn open_folder(folder: &Path, dtype: WeightDtype, device: &Device) -> Result<Embedder> {
    let plan = FolderPlan::new(read_if_there(folder, "modules.json")?.as_deref())?;
    let mut small = BTreeMap::new();
    let mut weights = Vec::new();
    for file in plan.files() {
        if file.weights {
            weights.push(weight_file(folder, file, dtype)?);
        } else if let Some(bytes) = read_if_there(folder, &file.path)? {
            small.insert(file.path, bytes);
        }
    }

    let mut loader = Loader::new(&plan, small, dtype, device)?;
    for path in weights {
        push_file(&mut loader, folder, &path)?;
    }
    loader.finish()
}

/// The file of the folder to read these weights from.
fn weight_file(folder: &Path, file: FolderFile, dtype: WeightDtype) -> Result<String> {
    let Some(packed) = file.packed.filter(|packed| folder.join(packed).exists()) else {
        return Ok(file.path);
    };
    if dtype == WeightDtype::Q8 {
        return Ok(packed);
    }
    if folder.join(&file.path).exists() {
        return Ok(file.path);
    }
    let what = format!("dtype \"{}\" of a folder that holds only 8-bit weights", dtype.name());
    Err(Error::unsupported(&packed, what, "dtype \"q8\""))
}

fn push_file(loader: &mut Loader, folder: &Path, path: &str) -> Result<()> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::MissingFile { file: path.into() },
        _ => Error::Io { file: path.into(), source },
    };
    let mut file = File::open(folder.join(path)).map_err(failed)?;
    loader.begin_weights(path)?;
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

fn read_if_there(folder: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    match fs::read(folder.join(path)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { file: path.into(), source }),
    }
}
