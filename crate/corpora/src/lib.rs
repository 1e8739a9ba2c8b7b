//! The demo's ready corpora: public texts, cut into passages and encoded before anybody asks.
//!
//! ```text
//! a package's files ─► Corpus: documents of passages ─► encode.mjs: vectors ─► write: an index in a folder
//! ```

mod factbook;
mod hints;
mod moby_dick;
pub mod passages;
mod write;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use embervec_json::Object;
use embervec_tokenizer::{Files, Tokenizer, TokenizerOptions};
use serde_json::{Map, Value};

pub use write::{Encoded, write};

/// Texts of one source.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Of its folder.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What is in it, in a sentence.
    pub description: &'static str,
    /// Whose work it is, and where it was fetched.
    pub source: &'static str,
    /// Why it may be used.
    pub licence: &'static str,
    /// Queries that it answers well.
    pub examples: &'static [&'static str],
    /// In the source's order.
    pub documents: Vec<Document>,
}

/// One text of a corpus.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it is found by.
    pub id: String,
    /// Its `title`, the `place` in its source, its `type`, …
    pub metadata: Map<String, Value>,
    /// In order. The document's text is these with a line break between them.
    pub passages: Vec<String>,
}

/// Reads the package `name` in `folder` as a corpus of passages for this model.
type Read = fn(&Path, &passages::Count) -> Result<Corpus>;

/// The corpora of packages, each with the folder that its package is in.
const PACKAGES: [(&str, Read); 2] = [("factbook", factbook::read), ("moby-dick", moby_dick::read)];

/// Reads all corpora of the packages in a folder.
///
/// # Errors
///
/// When a file is missing or is not what the package has.
pub fn read(sources: &Path, tokenizer: &Tokenizer) -> Result<Vec<Corpus>> {
    let count = |text: &str| Ok(tokenizer.count(text, true)?.0);
    let packages = PACKAGES.iter().map(|(name, read)| read(&sources.join(name), &count));
    std::iter::once(hints::read()).chain(packages).collect()
}

/// The tokenizer of a model folder.
///
/// # Errors
///
/// When a file of its cannot be read.
pub fn open_tokenizer(model: &Path) -> Result<Tokenizer> {
    let mut files = BTreeMap::new();
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let path = model.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name.to_owned(), bytes);
    }
    // Only tokens are counted here: limits and special tokens play no part.
    let options = TokenizerOptions {
        overrides: Object::default(),
        config_class: None,
        default_class: "BertTokenizer",
        lowercase: false,
        max_seq_length: None,
        max_positions: usize::MAX,
        add_special_tokens: false,
    };
    Ok(Tokenizer::new(&Files::new(&files, ""), &options)?)
}

impl Corpus {
    /// All passages in order.
    pub fn passages(&self) -> Vec<&str> {
        let documents = self.documents.iter();
        documents.flat_map(|document| document.passages.iter().map(String::as_str)).collect()
    }
}

/// What every document says of itself: the text that it is part of and how people call that, its place there, and its number
/// among the parts of that text.
fn metadata(
    doc: &str,
    title: &str,
    kind: &str,
    place: Option<&str>,
    n: usize,
) -> Map<String, Value> {
    let place = place.map(|place| ("place", place.into()));
    let entries =
        [("doc", doc.into()), ("title", title.into()), ("type", kind.into()), ("n", n.into())];
    entries.into_iter().chain(place).map(|(key, value)| (key.to_owned(), value)).collect()
}
