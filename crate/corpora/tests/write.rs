//! A corpus as a folder to serve: whole, in its order, and refused where vectors are missing.

use std::fs;
use std::path::{Path, PathBuf};

use embervec_corpora::{Corpus, Document, Encoded, write};
use embervec_search::folder::Folder;
use serde_json::{Value, json};

/// A folder that is gone when the test is over.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let name = format!("embervec-corpora-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing can be done about a failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn corpus() -> Corpus {
    let document = |id: &str, passages: &[&str]| Document {
        id: id.into(),
        metadata: [("title".to_owned(), Value::from(id))].into_iter().collect(),
        passages: passages.iter().map(|&passage| passage.to_owned()).collect(),
    };
    Corpus {
        name: "small",
        title: "Small",
        description: "Two documents.",
        source: "This test",
        licence: "None",
        examples: &["three"],
        documents: vec![document("a", &["One 🐋.", "Two."]), document("b", &["Three."])],
    }
}

/// What `encode.mjs` writes, with vectors of so many passages.
fn encoded(folder: &Path, passages: u8) -> Encoded {
    let space = json!({
        "space": { "model": "a/model", "dtype": "q8" },
        "probes": [{ "text": "x", "vector": [1.0, 0.0] }],
    });
    fs::write(folder.join("space.q8.json"), space.to_string()).expect("it can be written");
    let vectors = (0..passages).flat_map(|row| [f32::from(row), 1.0]);
    let bytes: Vec<u8> = vectors.flat_map(f32::to_le_bytes).collect();
    fs::write(folder.join("small.q8.f32"), bytes).expect("it can be written");
    Encoded::open(folder).expect("it is what encode.mjs writes")
}

#[test]
fn an_index_and_a_list() {
    let temporary = Temporary::new("whole");
    let output = temporary.0.join("corpora");
    write(&[corpus()], &encoded(&temporary.0, 3), &output).expect("it can be written");

    let index = Folder::open(&output.join("small")).expect("it is an index");
    assert_eq!(index.name(), "Small");
    assert_eq!(index.space().map(|space| &space["model"]), Some(&Value::from("a/model")));
    let passages: Vec<_> = (0..3)
        .filter_map(|row| index.passage(row))
        .map(|passage| (passage.document, passage.text, passage.start, passage.end))
        .collect();
    // In UTF-16 code units, with a line break between two passages.
    let wanted = [("a", "One 🐋.", 0, 7), ("a", "Two.", 8, 12), ("b", "Three.", 0, 6)];
    assert_eq!(passages, wanted);
    assert_eq!(index.vector(2), Some(&[2.0, 1.0][..]));

    let list = fs::read(output.join("index.json")).expect("the list is there");
    let list: Value = serde_json::from_slice(&list).expect("it is JSON");
    assert_eq!(list[0]["name"], "small");
    assert_eq!(list[0]["passages"], 3);
    assert_eq!(list[0]["examples"][0], "three");
}

#[test]
fn vectors_of_other_passages_are_refused() {
    let temporary = Temporary::new("short");
    let output = temporary.0.join("corpora");
    let error = write(&[corpus()], &encoded(&temporary.0, 2), &output).expect_err("one is missing");
    assert!(format!("{error:#}").contains("small.q8.f32 does not hold 3 vectors"), "{error:#}");
    assert!(!output.join("index.json").exists());
}
