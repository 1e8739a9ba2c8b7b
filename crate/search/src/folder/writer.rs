use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    Document, Documents, FORMAT, File, MANIFEST, Manifest, PIECE_ROWS, PIECES, Probe, ROWS, SCAN,
    TERMS, TEXTS, VECTORS, VERSION,
};
use crate::error::{Error, Result};
use crate::terms::TermsBuilder;
use crate::vectors::{Similarity, check_dimension, quantize, size};
use crate::words::words_of;

/// Of a piece of `terms.bin`, about. A word costs a request of so many bytes.
const TERMS_BYTES: usize = 8192;

/// A part of a document that is found by itself.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// The document's id.
    pub document: &'a str,
    /// The passage's text.
    pub text: &'a str,
    /// Where it begins in the document, in UTF-16 code units.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The document's metadata.
    pub metadata: Option<&'a Map<String, Value>>,
}

/// Makes the folder of an index. All but the texts' pieces is kept in memory until [`Writer::write`].
pub struct Writer {
    dimension: usize,
    similarity: Similarity,
    documents: Vec<Document>,
    ids: BTreeSet<String>,
    texts: Vec<String>,
    terms: TermsBuilder,
    vectors: Vec<f32>,
}

impl Writer {
    /// A folder without passages.
    ///
    /// # Errors
    ///
    /// For a dimension that no index has.
    pub fn new(dimension: usize, similarity: Similarity) -> Result<Self> {
        check_dimension(dimension)?;
        Ok(Self {
            dimension,
            similarity,
            documents: Vec::new(),
            ids: BTreeSet::new(),
            texts: Vec::new(),
            terms: TermsBuilder::new(0),
            vectors: Vec::new(),
        })
    }

    /// Appends a passage and its vector. The passages of a document come one after the other, in their order.
    ///
    /// # Errors
    ///
    /// For a vector that cannot be compared, and for a passage whose document has ended or has other metadata.
    pub fn add(&mut self, passage: Passage<'_>, vector: &[f32]) -> Result<()> {
        let Passage { document, text, start, end, metadata } = passage;
        let row = self.texts.len();
        let invalid = |problem: &str| {
            Error::invalid(format!("passage {row} of the document {document:?}: {problem}"))
        };
        if vector.len() != self.dimension {
            return Err(invalid(&format!(
                "its vector has {} dimensions, but the index has {}",
                vector.len(),
                self.dimension
            )));
        }
        size(vector, || format!("the vector of passage {row} of the document {document:?}"))?;
        if start > end {
            return Err(invalid("it ends before it begins"));
        }
        let length = text.encode_utf16().count();
        if length != end - start {
            return Err(invalid(&format!(
                "its text has {length} UTF-16 code units, but its start and end are {} apart",
                end - start
            )));
        }
        let words = words_of(text);
        // The length that minisearch's scores are made with.
        let different = words.iter().collect::<BTreeSet<_>>().len();
        let span = (start, end, different);
        match self.documents.last_mut().filter(|last| last.id == document) {
            Some(last) if last.metadata.as_ref() != metadata => {
                return Err(invalid("its metadata is not that of the document's earlier passages"));
            }
            Some(last) => last.spans.push(span),
            None if !self.ids.insert(document.into()) => {
                return Err(invalid(
                    "passages of other documents are between it and its document's earlier passages",
                ));
            }
            None => self.documents.push(Document {
                id: document.into(),
                metadata: metadata.cloned(),
                from: 0,
                spans: vec![span],
            }),
        }
        self.terms.add_row(words)?;
        self.texts.push(text.into());
        self.vectors.extend(vector);
        Ok(())
    }

    /// Writes the files into a folder, `manifest.json` last. `space` is the model's, as `embedder.info.embeddingSpace` names it;
    /// `probes` are texts with the vectors that it gives them as documents.
    ///
    /// # Errors
    ///
    /// For probes that cannot be compared, for a model without probes, for more than 4 GB of texts or of words, and where
    /// a file cannot be written.
    pub fn write(
        self,
        folder: &Path,
        name: &str,
        space: Option<Map<String, Value>>,
        probes: Vec<Probe>,
    ) -> Result<()> {
        if space.is_some() && probes.is_empty() {
            let problem = "a space needs at least one probe, with which a reader checks that it has the same model";
            return Err(Error::invalid(problem));
        }
        for Probe { text, vector } in &probes {
            size(vector, || format!("the vector of the probe {text:?}"))?;
            if vector.len() != self.dimension {
                return Err(Error::invalid(format!(
                    "the probe {text:?} has {} dimensions, but the index has {}",
                    vector.len(),
                    self.dimension
                )));
            }
        }
        let texts = self.texts.chunks(PIECE_ROWS).map(|texts| Ok((None, deflated(&texts)?)));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let terms = self.terms.encode_pieces(TERMS_BYTES).into_iter();
        let terms: Vec<_> = terms.map(|(first, piece)| (Some(first), piece)).collect();
        let vectors: Vec<u8> = self.vectors.iter().flat_map(|x| x.to_le_bytes()).collect();

        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let write = |name: &str, parts: &mut dyn Iterator<Item = &[u8]>| {
            let file = write(&folder.join(name), parts)?;
            Ok((name.to_owned(), file))
        };
        let whole = |name: &str, bytes: &[u8]| write(name, &mut std::iter::once(bytes));
        let files = [
            whole(SCAN, &quantize(&self.vectors, self.dimension)?)?,
            whole(ROWS, &deflated(&Documents { documents: self.documents })?)?,
            whole(PIECES, &table(&texts, &terms)?)?,
            write(TEXTS, &mut texts.iter().map(|(_, piece)| &piece[..]))?,
            write(TERMS, &mut terms.iter().map(|(_, piece)| &piece[..]))?,
            whole(VECTORS, &vectors)?,
        ];
        let manifest = Manifest {
            format: FORMAT.into(),
            version: VERSION,
            name: name.into(),
            space,
            probes,
            dimension: self.dimension,
            similarity: self.similarity.name().into(),
            rows: self.texts.len(),
            files: files.into_iter().collect(),
        };
        whole(MANIFEST, &json(&manifest)?).map(drop)
    }
}

type Piece = (Option<String>, Vec<u8>);

/// `pieces.bin`.
fn table(texts: &[Piece], terms: &[Piece]) -> Result<Vec<u8>> {
    let mut table = Vec::new();
    let number = |x: usize| {
        let x = u32::try_from(x)
            .map_err(|_| Error::invalid("the texts or the words take more than 4 GB"));
        Ok::<_, Error>(x?.to_le_bytes())
    };
    table.extend(number(texts.len())?);
    table.extend(number(terms.len())?);
    for pieces in [texts, terms] {
        let mut offset = 0;
        for (_, piece) in pieces {
            table.extend(number(offset)?);
            table.extend(number(piece.len())?);
            table.extend(Sha256::digest(piece));
            offset += piece.len();
        }
    }
    for first in terms.iter().filter_map(|(first, _)| first.as_ref()) {
        table.extend(number(first.len())?);
        table.extend(first.as_bytes());
    }
    Ok(table)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::invalid(format!("cannot write JSON: {error}")))
}

fn deflated(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(&json(value)?).and_then(|()| encoder.finish());
    written.map_err(|error| Error::invalid(format!("cannot compress JSON: {error}")))
}

fn write(path: &Path, parts: &mut dyn Iterator<Item = &[u8]>) -> Result<File> {
    let mut written = || {
        let mut file = BufWriter::new(fs::File::create(path)?);
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        for part in &mut *parts {
            file.write_all(part)?;
            digest.update(part);
            bytes += part.len() as u64;
        }
        file.flush()?;
        Ok(File { bytes, sha256: hexadecimal(&digest.finalize()) })
    };
    written().map_err(|error| Error::io(path, error))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
