//! `manifest.json`: what a model folder consists of, so that a browser knows every file's size before
//! it comes, and can tell of each piece whether it is right as soon as it has come.
//!
//! ```json
//! {
//!   "format": "embervec-manifest-1",
//!   "chunk_bytes": 524288,
//!   "files": {
//!     "1_Pooling/config.json": { "size": 190, "sha256": "4be4…", "chunks": ["4be4…"] },
//!     "model.q8.safetensors": { "size": 22734080, "sha256": "…", "chunks": ["…", "…"] }
//!   }
//! }
//! ```
//!
//! - `format`: this description's name. A reader refuses others.
//! - `chunk_bytes`: the size of every chunk but a file's last.
//! - `files`: by path within the folder, with `/`, in the order of their bytes. All that a loader wants
//!   and that there is; what is not listed is not there. The manifest itself is not listed.
//! - `size`: the file's bytes.
//! - `sha256`: of the whole file, in lower-case hexadecimal.
//! - `chunks`: the SHA-256 of bytes 0 to `chunk_bytes`, of those from there to twice `chunk_bytes`, and
//!   so on to the file's end. An empty file has none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The manifest's name within the folder.
pub const MANIFEST_JSON: &str = "manifest.json";

/// The package downloads, verifies and stores in pieces of this size.
pub const CHUNK_BYTES: usize = 512 << 10;

const FORMAT: &str = "embervec-manifest-1";

/// The content of `manifest.json`.
#[derive(Debug, Serialize)]
pub struct Manifest {
    format: &'static str,
    chunk_bytes: usize,
    /// The files by path.
    pub files: BTreeMap<String, Entry>,
}

/// What it says about a file.
#[derive(Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Number of bytes.
    pub size: u64,
    sha256: String,
    chunks: Vec<String>,
}

impl Manifest {
    /// The manifest of those of these files that are in the folder.
    pub(crate) fn new<'a>(folder: &Path, paths: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for path in paths {
            let file = folder.join(path);
            if file.is_file() {
                let entry = File::open(&file).and_then(Entry::new);
                let entry = entry.with_context(|| format!("cannot read {}", file.display()))?;
                files.insert(path.to_owned(), entry);
            }
        }
        Ok(Self { format: FORMAT, chunk_bytes: CHUNK_BYTES, files })
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        Ok(writeln!(out)?)
    }
}

impl Entry {
    fn new(mut file: impl Read) -> io::Result<Self> {
        let mut entry = Self { size: 0, sha256: String::new(), chunks: Vec::new() };
        let mut whole = Sha256::new();
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            chunk.clear();
            file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                entry.sha256 = hex(whole);
                return Ok(entry);
            }
            entry.size += chunk.len() as u64;
            whole.update(&chunk);
            entry.chunks.push(hex(Sha256::new_with_prefix(&chunk)));
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_chunk_ends_where_the_file_does() {
        for (size, lengths) in [
            (0, vec![]),
            (1, vec![1]),
            (CHUNK_BYTES, vec![CHUNK_BYTES]),
            (CHUNK_BYTES + 1, vec![CHUNK_BYTES, 1]),
        ] {
            let entry = Entry::new(&vec![b'x'; size][..]).expect("memory can be read");
            assert_eq!(entry.size, size as u64);
            let chunks =
                lengths.iter().map(|&length| hex(Sha256::new_with_prefix(vec![b'x'; length])));
            assert_eq!(entry.chunks, chunks.collect::<Vec<_>>(), "{size}");
        }
        assert_eq!(Entry::new(&[][..]).expect("memory can be read").sha256, OF_NOTHING);
    }
}
