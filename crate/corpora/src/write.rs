//! Corpora as folders for `SearchIndex.fetch`, and the list of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use embervec_search::Similarity;
use embervec_search::folder::{Passage, Probe, Writer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Corpus;

/// What the demo encodes queries with.
const DTYPE: &str = "q8";

/// What `encode.mjs` has written.
#[derive(Debug)]
pub struct Encoded {
    folder: PathBuf,
    space: Space,
}

#[derive(Debug, Deserialize)]
struct Space {
    space: Map<String, Value>,
    probes: Vec<Probe>,
}

/// An entry of `index.json`.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    title: &'a str,
    description: &'a str,
    source: &'a str,
    licence: &'a str,
    examples: &'a [&'a str],
    documents: usize,
    passages: usize,
    bytes: u64,
}

impl Encoded {
    /// A folder of `encode.mjs`.
    ///
    /// # Errors
    ///
    /// When it does not say whose vectors it holds.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("space.{DTYPE}.json"));
        let json = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let space = serde_json::from_slice(&json)
            .with_context(|| format!("{} is not what encode.mjs writes", path.display()))?;
        Ok(Self { folder: folder.into(), space })
    }

    fn dimension(&self) -> usize {
        self.space.probes.first().map_or(0, |probe| probe.vector.len())
    }

    /// The vectors of so many passages, one after the other.
    fn vectors(&self, name: &str, passages: usize) -> Result<Vec<f32>> {
        let path = self.folder.join(format!("{name}.{DTYPE}.f32"));
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (floats, rest) = bytes.as_chunks::<4>();
        ensure!(
            rest.is_empty() && floats.len() == passages * self.dimension(),
            "{} does not hold {passages} vectors",
            path.display()
        );
        Ok(floats.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }
}

/// Writes each corpus into a folder of its name, and `index.json` last.
///
/// # Errors
///
/// When there are not the vectors of these passages, or a file cannot be written.
pub fn write(corpora: &[Corpus], encoded: &Encoded, output: &Path) -> Result<()> {
    let mut entries = Vec::new();
    for corpus in corpora {
        let folder = output.join(corpus.name);
        write_index(corpus, encoded, &folder)
            .with_context(|| format!("cannot write {}", folder.display()))?;
        entries.push(Entry {
            name: corpus.name,
            title: corpus.title,
            description: corpus.description,
            source: corpus.source,
            licence: corpus.licence,
            examples: corpus.examples,
            documents: corpus.documents.len(),
            passages: corpus.passages().len(),
            bytes: size_of(&folder)?,
        });
    }
    let path = output.join("index.json");
    fs::write(&path, serde_json::to_vec_pretty(&entries)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write_index(corpus: &Corpus, encoded: &Encoded, folder: &Path) -> Result<()> {
    let dimension = encoded.dimension();
    let vectors = encoded.vectors(corpus.name, corpus.passages().len())?;
    let mut vectors = vectors.chunks_exact(dimension);
    let mut writer = Writer::new(dimension, Similarity::Cosine)?;
    for document in &corpus.documents {
        let mut start = 0;
        for text in &document.passages {
            let end = start + text.encode_utf16().count();
            let passage = Passage {
                document: &document.id,
                text,
                start,
                end,
                metadata: Some(&document.metadata),
            };
            writer.add(passage, vectors.next().context("there are too few vectors")?)?;
            // The line break between two passages.
            start = end + 1;
        }
    }
    let Space { space, probes } = &encoded.space;
    Ok(writer.write(folder, corpus.title, Some(space.clone()), probes.clone())?)
}

/// All bytes of a folder's files.
fn size_of(folder: &Path) -> Result<u64> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
