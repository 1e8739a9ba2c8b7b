//! The files of an index's folder, as they are and under a manifest that names them rightly.

use std::io::Read;

use embervec_search::Error;
use embervec_search::folder::Folder;
use flate2::read::DeflateDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check_message;
use crate::archive::Archive;

/// What errors may be about.
const NAMES: [&str; 11] = [
    "manifest.json",
    "scan",
    "rows.bin",
    "pieces.bin",
    "texts.bin",
    "terms",
    "vectors.f32",
    "dimension",
    "similarity",
    "metadata",
    "there is no",
];

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let mut archive = Archive::parse(bytes);
    // What is inflated is a part of the input.
    let mut rows = Vec::new();
    let deflated = archive.get("rows.bin").unwrap_or_default();
    let _ = DeflateDecoder::new(deflated).take(64 << 20).read_to_end(&mut rows);
    let size = 2 * bytes.len() + rows.len();
    drop(rows);
    read(&archive)?;
    repair(&mut archive);
    read(&archive)?;
    Ok(size)
}

/// Has the manifest name the files that are there.
fn repair(archive: &mut Archive) {
    let Some(manifest) = archive.get("manifest.json") else { return };
    let Ok(mut manifest) = serde_json::from_slice::<Value>(manifest) else { return };
    let Some(files) = manifest.get_mut("files").and_then(Value::as_object_mut) else { return };
    for (name, file) in files {
        let bytes = archive.get(name).unwrap_or_default();
        let digest: String = Sha256::digest(bytes).iter().map(|x| format!("{x:02x}")).collect();
        *file = json!({ "bytes": bytes.len(), "sha256": digest });
    }
    archive.put("manifest.json", manifest.to_string().into_bytes());
}

fn read(archive: &Archive) -> Result<(), String> {
    let folder = Folder::read(&mut |name| {
        let bytes = archive.get(name).map(<[u8]>::to_vec);
        bytes.ok_or_else(|| Error::InvalidInput(format!("there is no {name}")))
    });
    let folder = match folder {
        Ok(folder) => folder,
        Err(error) => return check_message(&error.to_string(), &NAMES),
    };
    for row in 0..folder.index.rows() {
        let is_whole = folder.passage(row).is_some() && folder.vector(row).is_some();
        if !is_whole {
            return Err(format!("row {row} of {} lacks something", folder.index.rows()));
        }
    }
    Ok(())
}
