//! An index in a folder of a web server: `SearchIndex.fetch` reads it, [`Writer`] makes it.
//!
//! | file | what it is | read |
//! |---|---|---|
//! | `manifest.json` | what there is, with the SHA-256 of each file | first |
//! | `scan.bin` | a `scan` part | whole |
//! | `rows.bin` | the documents and their passages; JSON, deflated | whole |
//! | `pieces.bin` | where the pieces of `texts.bin` and `terms.bin` are, with their SHA-256 | whole |
//! | `texts.bin` | pieces of the texts of 16 rows; JSON, deflated | a piece for a hit |
//! | `terms.bin` | pieces that are `terms` parts, in the order of their terms | a piece for a word |
//! | `vectors.f32` | the vectors, little-endian | a row for a candidate |

mod reader;
mod writer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use reader::Folder;
pub use writer::{Passage, Writer};

const FORMAT: &str = "embervec-index";
const VERSION: u32 = 1;

const MANIFEST: &str = "manifest.json";
const SCAN: &str = "scan.bin";
const ROWS: &str = "rows.bin";
const PIECES: &str = "pieces.bin";
const TEXTS: &str = "texts.bin";
const TERMS: &str = "terms.bin";
const VECTORS: &str = "vectors.f32";

/// Rows whose texts are one piece. A request for a text has 16 of them: some 3 kB.
const PIECE_ROWS: usize = 16;

const DIGEST_BYTES: usize = 32;

/// A text and the vector that the model gives it. A reader compares a few of them to check that it has the same model.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Probe {
    /// The text, encoded as a document.
    pub text: String,
    /// Its vector.
    pub vector: Vec<f32>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Manifest {
    format: String,
    version: u32,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    space: Option<Map<String, Value>>,
    probes: Vec<Probe>,
    dimension: usize,
    similarity: String,
    rows: usize,
    files: BTreeMap<String, File>,
}

#[derive(Debug, Deserialize, Serialize)]
struct File {
    bytes: u64,
    sha256: String,
}

/// `rows.bin`.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Documents {
    documents: Vec<Document>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Document {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Map<String, Value>>,
    /// Which passage of the document is the first one here.
    from: usize,
    spans: Vec<Span>,
}

/// Begin and end in the document, in UTF-16 code units, and how many different words.
type Span = (usize, usize, usize);
