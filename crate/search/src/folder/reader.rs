use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::DeflateDecoder;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::writer::hexadecimal;
use super::{
    DIGEST_BYTES, Document, Documents, FORMAT, MANIFEST, Manifest, PIECE_ROWS, PIECES, Passage,
    Probe, ROWS, SCAN, TERMS, TEXTS, VECTORS, VERSION,
};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::parts::Reader;
use crate::vectors::{Similarity, check_dimension, quantize};

/// Of a manifest. One without probes has less than 1 kB.
const MAX_MANIFEST: usize = 1 << 20;

/// Bytes of JSON to a byte that is deflated: 1032 is the most that the format allows, text has 3.
const MAX_RATIO: u64 = 1032;

/// Bytes of JSON that are inflated at once.
const MAX_INFLATED: u64 = 256 << 20;

/// A whole folder in memory. Every piece passes the checks that a browser makes when it reads that piece.
pub struct Folder {
    manifest: Manifest,
    /// All passages; the words of all pieces.
    pub index: Index,
    passages: Vec<(usize, usize)>,
    documents: Documents,
    texts: Vec<String>,
    vectors: Vec<f32>,
}

impl Folder {
    /// Reads a folder's files.
    ///
    /// # Errors
    ///
    /// Where a file is missing, or is not as the manifest says.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::read(&mut |name| {
            let path = folder.join(name);
            fs::read(&path).map_err(|error| Error::io(&path, error))
        })
    }

    /// Reads the files that `read` gives.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`].
    pub fn read(read: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let manifest = parse_manifest(&read(MANIFEST)?)?;
        let mut file = |name: &'static str| {
            let file = manifest.files.get(name);
            let file = file.ok_or_else(|| damaged(MANIFEST, format!("it does not name {name}")))?;
            let bytes = read(name)?;
            match bytes.len() as u64 == file.bytes && sha256(&bytes) == file.sha256 {
                true => Ok(bytes),
                false => Err(damaged(name, "its size or SHA-256 is not the one in manifest.json")),
            }
        };
        let rows = manifest.rows;
        let (texts, terms) = parse_pieces(&file(PIECES)?, rows, &file(TEXTS)?, &file(TERMS)?)?;

        let documents: Documents = inflated(ROWS, &file(ROWS)?)?;
        let spans = documents.documents.iter().map(|document| document.spans.len());
        if spans.sum::<usize>() != rows {
            return Err(damaged(
                ROWS,
                format!("it does not have the {rows} passages that manifest.json states"),
            ));
        }
        let indices = documents.documents.iter().enumerate();
        let passages: Vec<_> = indices
            .flat_map(|(i, document)| (0..document.spans.len()).map(move |span| (i, span)))
            .collect();
        let mut ids = BTreeSet::new();
        if let Some(Document { id, .. }) = documents
            .documents
            .iter()
            .find(|document| document.from != 0 || !ids.insert(&document.id))
        {
            return Err(damaged(ROWS, format!("it lists the document {id:?} twice")));
        }
        for (&(i, span), text) in passages.iter().zip(&texts) {
            let (start, end, _) = documents.documents[i].spans[span];
            if start > end {
                return Err(damaged(
                    ROWS,
                    format!("a passage of document {i} ends before it begins"),
                ));
            }
            if text.encode_utf16().count() != end - start {
                return Err(damaged(
                    TEXTS,
                    format!("a text of document {i} is not as long as its passage"),
                ));
            }
        }

        let metadata: Vec<_> =
            passages.iter().map(|&(i, _)| &documents.documents[i].metadata).collect();
        let metadata = serde_json::to_string(&metadata)
            .map_err(|error| damaged(ROWS, format!("its metadata is not JSON: {error}")))?;
        let similarity = Similarity::parse(&manifest.similarity)?;
        let mut index = Index::new(manifest.dimension, similarity)?;
        let scan = file(SCAN)?;
        index.append(&scan, &metadata)?;
        if index.rows() != rows {
            return Err(damaged(
                SCAN,
                format!("it does not have the {rows} rows that manifest.json states"),
            ));
        }
        for piece in terms {
            index.append_terms(&piece)?;
        }

        let vectors = file(VECTORS)?;
        let (vectors, rest) = vectors.as_chunks::<4>();
        if !rest.is_empty() || Some(vectors.len()) != rows.checked_mul(manifest.dimension) {
            return Err(damaged(VECTORS, "it does not have one vector for each row"));
        }
        let vectors: Vec<f32> = vectors.iter().map(|x| f32::from_le_bytes(*x)).collect();
        match quantize(&vectors, manifest.dimension) {
            Ok(quantized) if quantized == scan => {}
            _ => return Err(damaged(VECTORS, format!("its vectors are not those of {SCAN}"))),
        }
        Ok(Self { manifest, index, passages, documents, texts, vectors })
    }

    /// The index's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Whose vectors these are.
    pub fn space(&self) -> Option<&Map<String, Value>> {
        self.manifest.space.as_ref()
    }

    /// Texts with the vectors that the model gives them.
    pub fn probes(&self) -> &[Probe] {
        &self.manifest.probes
    }

    /// A passage.
    pub fn passage(&self, row: usize) -> Option<Passage<'_>> {
        let &(document, span) = self.passages.get(row)?;
        let Document { id, metadata, spans, .. } = &self.documents.documents[document];
        let (start, end, _) = spans[span];
        Some(Passage {
            document: id,
            text: self.texts.get(row)?,
            start,
            end,
            metadata: metadata.as_ref(),
        })
    }

    /// How many different words a passage has.
    pub fn words(&self, row: usize) -> Option<usize> {
        let &(document, span) = self.passages.get(row)?;
        Some(self.documents.documents[document].spans[span].2)
    }

    /// A passage's vector.
    pub fn vector(&self, row: usize) -> Option<&[f32]> {
        self.vectors.chunks_exact(self.manifest.dimension).nth(row)
    }
}

fn parse_manifest(bytes: &[u8]) -> Result<Manifest> {
    if bytes.len() > MAX_MANIFEST {
        return Err(damaged(MANIFEST, "it is too large"));
    }
    let manifest: Manifest = parse(MANIFEST, bytes)?;
    if manifest.format != FORMAT {
        return Err(damaged(MANIFEST, "it is not the manifest of an index"));
    }
    if manifest.version != VERSION {
        return Err(damaged(
            MANIFEST,
            format!(
                "its version is {}, but this embervec reads version {VERSION}; update embervec or rebuild the index",
                manifest.version
            ),
        ));
    }
    check_dimension(manifest.dimension)?;
    let is_odd = |probe: &&Probe| probe.vector.len() != manifest.dimension;
    match manifest.probes.iter().find(is_odd) {
        Some(probe) => {
            Err(damaged(MANIFEST, format!("the probe {:?} has another dimension", probe.text)))
        }
        None => Ok(manifest),
    }
}

/// The texts of all rows, and the parts with the words.
fn parse_pieces(
    table: &[u8],
    rows: usize,
    texts: &[u8],
    terms: &[u8],
) -> Result<(Vec<String>, Vec<Vec<u8>>)> {
    let mut reader = Reader::new(PIECES, table);
    let (text_pieces, term_pieces) = (reader.u32()? as usize, reader.u32()? as usize);
    if text_pieces != rows.div_ceil(PIECE_ROWS) {
        return Err(damaged(
            PIECES,
            format!("it has {text_pieces} pieces of texts for {rows} rows"),
        ));
    }
    let mut all = Vec::new();
    for _ in 0..text_pieces {
        let piece = piece(&mut reader, TEXTS, texts)?;
        let texts: Vec<String> = inflated(TEXTS, piece)?;
        if texts.len() != PIECE_ROWS.min(rows - all.len()) {
            return Err(damaged(TEXTS, "a piece does not have as many texts as there are rows"));
        }
        all.extend(texts);
    }
    let mut parts = Vec::new();
    for _ in 0..term_pieces {
        parts.push(piece(&mut reader, TERMS, terms)?.to_vec());
    }
    let mut before = None;
    for _ in 0..term_pieces {
        let length = reader.u32()? as usize;
        let first = reader.take(length)?;
        if before.is_some_and(|before| before >= first) {
            return Err(damaged(PIECES, "the first words of its pieces are not in order"));
        }
        before = Some(first);
    }
    match reader.is_empty() {
        true => Ok((all, parts)),
        false => Err(damaged(PIECES, "there is more data after its end")),
    }
}

fn piece<'a>(reader: &mut Reader, name: &'static str, file: &'a [u8]) -> Result<&'a [u8]> {
    let (offset, length) = (reader.u32()? as usize, reader.u32()? as usize);
    let digest = reader.take(DIGEST_BYTES)?;
    let piece = file.get(offset..).and_then(|rest| rest.get(..length));
    let piece =
        piece.ok_or_else(|| damaged(PIECES, format!("a piece lies beyond the end of {name}")))?;
    match Sha256::digest(piece)[..] == *digest {
        true => Ok(piece),
        false => Err(damaged(name, "a piece of it is not the one that pieces.bin names")),
    }
}

fn inflated<T: DeserializeOwned>(name: &'static str, bytes: &[u8]) -> Result<T> {
    let limit = MAX_INFLATED.min(bytes.len() as u64 * MAX_RATIO);
    let mut json = Vec::new();
    let read = DeflateDecoder::new(bytes).take(limit + 1).read_to_end(&mut json);
    read.map_err(|error| damaged(name, format!("it cannot be decompressed: {error}")))?;
    match json.len() as u64 > limit {
        true => Err(damaged(name, "it is too large")),
        false => parse(name, &json),
    }
}

fn parse<T: DeserializeOwned>(name: &'static str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|error| damaged(name, format!("it cannot be read: {error}")))
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn damaged(part: &'static str, problem: impl Into<String>) -> Error {
    Error::Damaged { part, problem: problem.into() }
}
