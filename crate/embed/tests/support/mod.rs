//! The fixtures below `tests/fixtures`, made by `generate.py` from sentence-transformers.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use burn::tensor::Device;
use embervec_embed::{Embedder, open_folder};
use serde::Deserialize;

/// Expected vectors of one model.
#[derive(Deserialize)]
pub struct Expected {
    pub dimension: usize,
    pub max_seq_length: usize,
    #[serde(default = "cosine")]
    pub similarity: String,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub text: String,
    #[serde(default)]
    pub prompt_name: Option<String>,
    pub input_ids: Vec<u32>,
    pub truncated: bool,
    embedding: String,
    token_embeddings: Option<String>,
}

impl Case {
    pub fn embedding(&self) -> Vec<f32> {
        decode(&self.embedding)
    }

    pub fn token_embeddings(&self) -> Option<Vec<f32>> {
        self.token_embeddings.as_deref().map(decode)
    }
}

fn cosine() -> String {
    "cosine".into()
}

/// Base64 of little-endian floats.
fn decode(base64: &str) -> Vec<f32> {
    let bytes = BASE64_STANDARD.decode(base64).expect("base64");
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of the tiny models.
pub fn tiny_models() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("tests/fixtures/models"))
        .expect("tests/fixtures/models")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with("tiny-"))
        .collect();
    names.sort();
    names
}

/// A tiny model and its expected vectors.
pub fn tiny(name: &str) -> (Embedder, Expected) {
    let folder = root().join("tests/fixtures/models").join(name);
    let json = std::fs::read(folder.join("expected.json")).expect("expected.json");
    let embedder = open_folder(&folder, &Device::flex()).unwrap_or_else(|e| panic!("{name}: {e}"));
    (embedder, serde_json::from_slice(&json).expect("expected.json"))
}

/// The real model, which `cargo xtask model` fetches, and its expected vectors.
pub fn mini_lm() -> (Embedder, Expected) {
    let folder = root().join("www/models/all-MiniLM-L6-v2");
    let embedder = open_folder(&folder, &Device::flex())
        .unwrap_or_else(|error| panic!("{error}; `cargo xtask model` fetches it"));
    let json = std::fs::read(root().join("tests/fixtures/all-MiniLM-L6-v2.json")).expect("fixture");
    (embedder, serde_json::from_slice(&json).expect("fixture"))
}

/// The largest difference of any component.
pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
