//! The same vectors as sentence-transformers for every family of encoders, in folders that `tests/fixtures/families.py` has
//! written with transformers itself.

mod support;

use std::path::PathBuf;

use burn::tensor::Device;
use embervec_embed::{
    Embedder, EncodeOptions, Loader, Output, WeightDtype, open_folder, read_folder,
};
use embervec_encoder::{EncoderSpec, ModelLoader};
use support::{Expected, max_difference, root};

/// The components are of up to about 5.
const TOLERANCE: f32 = 1e-5;

/// Of any text, in 8 bits.
const LEAST_COSINE: f64 = 0.995;

fn folders() -> Vec<(String, PathBuf, Expected)> {
    let entries = std::fs::read_dir(root().join("tests/fixtures/families")).expect("families");
    let folder = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        let expected = std::fs::read(entry.path().join("expected.json")).expect("expected.json");
        (name, entry.path(), serde_json::from_slice(&expected).expect("expected.json"))
    };
    let mut folders: Vec<_> = entries.map(|entry| folder(entry.expect("an entry"))).collect();
    folders.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    folders
}

fn open(path: &std::path::Path, dtype: WeightDtype) -> Embedder {
    open_folder(path, dtype, &Device::flex()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_family_gives_sentence_transformers_vectors() {
    let folders = folders();
    assert!(folders.len() >= 12, "{}", folders.len());
    let mut problems = Vec::new();
    for (name, path, expected) in folders {
        let embedder = open(&path, WeightDtype::Fp32);
        assert_eq!(embedder.dimension(), expected.dimension, "{name}");
        assert_eq!(embedder.max_seq_length(), expected.max_seq_length, "{name}");
        assert_eq!(embedder.similarity(), expected.similarity, "{name}");
        for case in &expected.cases {
            let what = format!("{name}, {}", case.name);
            let tokens = embedder.tokenize(&case.text).expect(&what);
            if tokens.input_ids != case.input_ids {
                problems.push(format!("{what}: {:?}, not {:?}", tokens.input_ids, case.input_ids));
                continue;
            }
            let options = EncodeOptions::default();
            let encoded = embedder.encode(&[&case.text], &options).expect(&what);
            assert_eq!(encoded.truncated, [case.truncated], "{what}");
            let difference = max_difference(&encoded.vectors, &case.embedding());
            let is_near = difference < TOLERANCE;
            if !is_near {
                problems.push(format!("{what}: {difference:e}"));
            }
            let Some(token_embeddings) = case.token_embeddings() else { continue };
            let options = EncodeOptions { output: Output::Token, ..options };
            let encoded = embedder.encode(&[&case.text], &options).expect(&what);
            let difference = max_difference(&encoded.vectors, &token_embeddings);
            let is_near = difference < TOLERANCE;
            if !is_near {
                problems.push(format!("{what}, tokens: {difference:e}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn in_8_bits_the_vectors_point_the_same_way() {
    let mut problems = Vec::new();
    for (name, path, expected) in folders() {
        let embedder = open(&path, WeightDtype::Q8);
        let mut least = f64::INFINITY;
        for case in &expected.cases {
            let encoded = embedder.encode(&[&case.text], &EncodeOptions::default()).expect(&name);
            let (a, b) = (encoded.vectors, case.embedding());
            // Of a text without tokens.
            if b.iter().all(|x| *x == 0.0) {
                assert_eq!(a, b, "{name}, {}", case.name);
                continue;
            }
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
            };
            let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
            least = if cosine < least || cosine.is_nan() { cosine } else { least };
        }
        println!("{name}: {least}");
        let is_near = least >= LEAST_COSINE;
        if !is_near {
            problems.push(format!("{name}: {least}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_text_has_the_same_bits_alone_and_in_any_batch() {
    for (name, path, expected) in folders() {
        for dtype in [WeightDtype::Fp32, WeightDtype::Q8] {
            let embedder = open(&path, dtype);
            let options = EncodeOptions::default();
            let texts: Vec<_> = expected.cases.iter().rev().map(|case| &*case.text).collect();
            let together = embedder.encode(&texts, &options).expect(&name);
            for (text, vector) in texts.iter().zip(together.vectors.chunks(together.dimension)) {
                let alone = embedder.encode(&[text], &options).expect(&name);
                assert_eq!(vector, alone.vectors, "{name}, {dtype:?}, {text}");
            }
        }
    }
}

/// A configuration of another family than the weights: the first name that is missing and the first that is too many.
#[test]
fn a_family_that_contradicts_its_tensors_is_refused_with_names_of_both() {
    let folder = root().join("tests/fixtures/families/camembert-mean");
    let read = |file: &str| std::fs::read(folder.join(file)).expect(file);
    let config: serde_json::Value = serde_json::from_slice(&read("config.json")).expect("JSON");
    let other = serde_json::json!({
        "model_type": "distilbert",
        "vocab_size": config["vocab_size"],
        "max_position_embeddings": config["max_position_embeddings"],
        "dim": config["hidden_size"],
        "n_heads": config["num_attention_heads"],
        "n_layers": config["num_hidden_layers"],
        "hidden_dim": config["intermediate_size"],
    });
    let spec = EncoderSpec::from_json("config.json", other.to_string().as_bytes()).expect("valid");
    let (path, device) = ("model.safetensors", Device::flex());
    let loader = ModelLoader::new(spec, 1, WeightDtype::Fp32, &device);
    let mut reader = loader.reader(path);
    let error = reader
        .push(&read(path))
        .and_then(|()| reader.finish().map(drop))
        .expect_err("of another family");
    let message = error.to_string();
    for word in [
        path,
        "transformer.layer.0.attention.k_lin.bias",
        "embeddings.token_type_embeddings.weight",
    ] {
        assert!(message.contains(word), "{message}");
    }
}

/// How wide a static model is only its weight file says: what follows must fit.
#[test]
fn a_module_that_does_not_fit_a_static_models_table_is_refused() {
    let family = |name: &str| root().join("tests/fixtures/families").join(name);
    let folder = read_folder(&family("static-dense")).expect("a folder");
    for (table, fits) in [("static-dense", true), ("static-mean", false)] {
        let mut loader = Loader::new(&folder, WeightDtype::Fp32, &Device::flex()).expect("valid");
        for (file, of) in
            [("model.safetensors", table), ("1_Dense/model.safetensors", "static-dense")]
        {
            loader.begin_weights(file, None).expect(file);
            loader.push_weights(&std::fs::read(family(of).join(file)).expect(file)).expect(file);
            loader.end_weights().expect(file);
        }
        match loader.finish() {
            Ok(embedder) => assert!(fits, "{}", embedder.dimension()),
            Err(error) => {
                let message = error.to_string();
                let is_named = message.contains("1_Dense/config.json") && message.contains("24");
                assert!(!fits && is_named, "{message}");
            }
        }
    }
}
