//! The fixtures below `tests/fixtures`, made by `generate.py` from sentence-transformers.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use burn::tensor::Device;
use embervec_embed::{Embedder, WeightDtype, open_folder};
use embervec_encoder::{Encoder, EncoderSpec, ModelLoader};
use serde::Deserialize;

/// Expected vectors of one model.
#[derive(Deserialize)]
pub struct Expected {
    pub dimension: usize,
    /// None: no limit.
    pub max_seq_length: Option<usize>,
    #[serde(default = "cosine")]
    pub similarity: String,
    pub cases: Vec<Case>,
    #[serde(default)]
    pub heads: Vec<Head>,
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

/// What the pooler gives for one text or for a pair of texts.
#[derive(Deserialize)]
pub struct Head {
    pub input_ids: Vec<u32>,
    pub token_type_ids: Vec<u32>,
    pooler_output: String,
    prediction_logits: String,
    seq_relationship_logits: String,
}

impl Head {
    pub fn pooler_output(&self) -> Vec<f32> {
        decode(&self.pooler_output)
    }

    /// For each token and word.
    pub fn prediction_logits(&self) -> Vec<f32> {
        decode(&self.prediction_logits)
    }

    /// Of the second text following the first, and of any other.
    pub fn seq_relationship_logits(&self) -> Vec<f32> {
        decode(&self.seq_relationship_logits)
    }
}

fn cosine() -> String {
    "cosine".into()
}

/// Base64 of little-endian floats.
pub fn decode(base64: &str) -> Vec<f32> {
    let bytes = BASE64_STANDARD.decode(base64).expect("base64");
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// The repository. Asked for when the test runs: a target folder that two checkouts share may hold
/// the other one's build.
pub fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo")).join("../..")
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
    let embedder = open_folder(&tiny_folder(name), WeightDtype::Fp32, &Device::flex())
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    (embedder, serde_json::from_slice(&tiny_file(name, "expected.json")).expect("expected.json"))
}

/// A tiny model without what `embed` adds to it, and its expected vectors.
pub fn tiny_bert(name: &str) -> (Encoder, Expected) {
    let spec = EncoderSpec::from_json("config.json", &tiny_file(name, "config.json"));
    let spec = spec.expect("config.json");
    let bytes = tiny_file(name, "model.safetensors");
    let path = "model.safetensors";
    let mut loader = ModelLoader::new(spec, 1, WeightDtype::Fp32, &Device::flex());
    let mut reader = loader.reader(path);
    reader.push(&bytes).expect("tensors");
    loader.take(path, reader.finish().expect("all bytes")).expect("all tensors");
    let model = loader.finish().expect("model");
    (model, serde_json::from_slice(&tiny_file(name, "expected.json")).expect("expected.json"))
}

/// A tensor of a tiny model, read without the code under test: its values and its shape.
pub fn tiny_tensor(name: &str, tensor: &str) -> (Vec<f32>, Vec<usize>) {
    let bytes = tiny_file(name, "model.safetensors");
    let (length, rest) = bytes.split_first_chunk().expect("a length");
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Value = serde_json::from_slice(header).expect("a header");
    let number = |value: &serde_json::Value| value.as_u64().expect("a number") as usize;
    let [begin, end] = [0, 1].map(|i| number(&header[tensor]["data_offsets"][i]));
    let shape = header[tensor]["shape"].as_array().expect("a shape").iter().map(number).collect();
    let (values, _) = values[begin..end].as_chunks();
    (values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(), shape)
}

fn tiny_folder(name: &str) -> PathBuf {
    root().join("tests/fixtures/models").join(name)
}

fn tiny_file(name: &str, file: &str) -> Vec<u8> {
    std::fs::read(tiny_folder(name).join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"))
}

/// The real model, which `cargo xtask model` fetches, and its expected vectors.
pub fn mini_lm(dtype: WeightDtype) -> (Embedder, Expected) {
    let folder = root().join("www/models/all-MiniLM-L6-v2");
    let embedder = open_folder(&folder, dtype, &Device::flex())
        .unwrap_or_else(|error| panic!("{error}; `cargo xtask model` fetches it"));
    let json = std::fs::read(root().join("tests/fixtures/all-MiniLM-L6-v2.json")).expect("fixture");
    (embedder, serde_json::from_slice(&json).expect("fixture"))
}

/// The largest difference of any component; NaN where there is one, which is not below any tolerance.
pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths");
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which drops a NaN.
    differences.fold(0.0, |max, x| if x > max || x.is_nan() { x } else { max })
}
