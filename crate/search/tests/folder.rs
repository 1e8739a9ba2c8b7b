//! A folder that is written comes back whole, and one that is damaged is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use embervec_search::folder::{Folder, Passage, Probe, Writer};
use embervec_search::{Error, Similarity};
use serde_json::{Map, Value, json};

const TEXTS: [&str; 4] =
    ["Call me Ishmael.", "Don't panic, 42!", "我们喜欢自然语言", "The whale, the WHALE \u{1f40b}."];

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn vector(row: usize) -> Vec<f32> {
    vec![row as f32 + 1.0, 1.0, -0.5]
}

/// 40 passages of 14 documents: more than two pieces of texts.
fn write(folder: &Path) {
    let mut writer = Writer::new(3, Similarity::Cosine).expect("a writer");
    for row in 0..40 {
        let metadata = map(json!({ "third": row / 3, "tags": ["a"] }));
        let document = format!("document {}", row / 3);
        let text = format!("{} number{row}", TEXTS[row % 4]);
        let start = row % 3 * 100;
        let passage = Passage {
            document: &document,
            text: &text,
            start,
            end: start + text.encode_utf16().count(),
            metadata: (row / 3 != 5).then_some(&metadata),
        };
        writer.add(passage, &vector(row)).expect("a passage");
    }
    let probes = vec![Probe { text: "probe".into(), vector: vec![0.1, 0.2, 0.3] }];
    let space = map(json!({ "model": "m", "dimension": 3 }));
    writer.write(folder, "a name", Some(space), probes).expect("written");
}

/// A folder of its own for each test.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("folder-{test}"));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file"));
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().expect("a name");
    entries.map(|entry| (name(&entry), fs::read(entry.path()).expect("a file"))).collect()
}

fn read(files: &BTreeMap<String, Vec<u8>>) -> embervec_search::Result<Folder> {
    Folder::read(&mut |name| {
        files.get(name).cloned().ok_or_else(|| Error::InvalidInput(format!("there is no {name}")))
    })
}

#[test]
fn what_is_written_comes_back() {
    let path = folder("whole");
    write(&path);
    let folder = Folder::open(&path).expect("a folder");
    assert_eq!(folder.name(), "a name");
    assert_eq!(folder.space(), Some(&map(json!({ "model": "m", "dimension": 3 }))));
    let probe = Probe { text: "probe".into(), vector: vec![0.1, 0.2, 0.3] };
    assert_eq!(folder.probes(), [probe]);
    assert_eq!(folder.index.rows(), 40);
    for row in 0..40 {
        let text = format!("{} number{row}", TEXTS[row % 4]);
        assert_eq!(folder.vector(row), Some(&vector(row)[..]));
        let passage = folder.passage(row).expect("a passage");
        assert_eq!(passage.text, text);
        assert_eq!(passage.document, format!("document {}", row / 3));
        assert_eq!(passage.metadata.is_none(), row / 3 == 5);
        assert_eq!(
            (passage.start, passage.end),
            (row % 3 * 100, row % 3 * 100 + text.encode_utf16().count())
        );
        let found = folder.index.search(&vector(row), 1, None).expect("an answer");
        assert!(found.rows.contains(&(row as u32)));
        let rows = folder.index.lookup(&format!("number{row}"), false).expect("an answer");
        assert_eq!(rows[&format!("number{row}")], [(row as u64) << 32 | 1]);
    }
    assert!(folder.passage(40).is_none());
    assert_eq!(folder.vector(40), None);
    assert_eq!(folder.words(3), Some(3), "the, whale, number3");
    assert_eq!(folder.words(40), None);
    let whales = folder.index.lookup("whale", false).expect("an answer");
    assert_eq!(whales["whale"].len(), 10);
    assert_eq!(whales["whale"][0], 3 << 32 | 2, "twice in row 3, in any case");
    assert_eq!(folder.index.lookup("自然", false).expect("an answer").len(), 1);
    assert_eq!(folder.index.matching(r#"{"third": 2, "tags": "a"}"#).expect("rows"), [6, 7, 8]);
}

/// The numbers that a page reads: those that `pkg/src/search/folder-index.ts` reads.
#[test]
fn the_files_have_the_form_that_a_page_reads() {
    let path = folder("form");
    write(&path);
    let files = files(&path);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    assert_eq!(manifest["format"], "embervec-index");
    assert_eq!(
        (&manifest["version"], &manifest["dimension"], &manifest["rows"]),
        (&json!(1), &json!(3), &json!(40))
    );
    for name in ["scan.bin", "rows.bin", "pieces.bin", "texts.bin", "terms.bin", "vectors.f32"] {
        assert_eq!(manifest["files"][name]["bytes"], files[name].len(), "{name}");
    }
    assert_eq!(files["vectors.f32"].len(), 40 * 3 * 4);
    let table = &files["pieces.bin"];
    assert_eq!(table[..4], 3_u32.to_le_bytes(), "pieces of texts");
    assert_eq!(table[4..8], 1_u32.to_le_bytes(), "pieces of terms");
    assert_eq!(table[8..12], 0_u32.to_le_bytes(), "the first one begins where the file does");
    let first = 8 + 4 * 40;
    assert_eq!(table[first..first + 4], 2_u32.to_le_bytes());
    assert_eq!(&table[first + 4..], b"42", "the first word of all");
}

#[test]
fn a_damaged_folder_is_refused() {
    let path = folder("damaged");
    write(&path);
    let sound = files(&path);
    read(&sound).map(drop).expect("as it was written");
    for name in sound.keys() {
        let with = |bytes: Vec<u8>| {
            let mut files = sound.clone();
            files.insert(name.clone(), bytes);
            read(&files).map(drop)
        };
        let bytes = &sound[name];
        assert!(with(bytes[..bytes.len() / 2].to_vec()).is_err(), "half of {name}");
        assert!(with(Vec::new()).is_err(), "nothing of {name}");
        if name != "manifest.json" {
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 1;
            let error = with(flipped).expect_err("another bit");
            assert_eq!(error.code(), "integrity");
            assert!(error.to_string().starts_with(name), "{error}");
        }
        let mut files = sound.clone();
        files.remove(name);
        assert!(read(&files).is_err(), "without {name}");
    }
    for (key, value, message) in [
        ("format", json!("other"), "not the manifest of an index"),
        ("version", json!(2), "its version is 2"),
        ("dimension", json!(0), "dimension 0"),
        ("dimension", json!(4), "dimension"),
        ("rows", json!(41), "as many texts as there are rows"),
        ("rows", json!(-1), "cannot be read"),
        ("similarity", json!("manhattan"), "manhattan"),
        ("files", json!({}), "does not name"),
    ] {
        let mut manifest: Value = serde_json::from_slice(&sound["manifest.json"]).expect("JSON");
        manifest[key] = value;
        let mut files = sound.clone();
        files.insert("manifest.json".into(), manifest.to_string().into_bytes());
        let error = read(&files).map(drop).expect_err(message);
        assert!(error.to_string().contains(message), "{error}, not {message}");
    }
}

#[test]
fn passages_that_do_not_fit_are_refused() {
    let mut writer = Writer::new(3, Similarity::Dot).expect("a writer");
    let passage =
        |document, metadata| Passage { document, text: "text", start: 0, end: 4, metadata };
    let other = map(json!({ "a": 1 }));
    writer.add(passage("a", None), &vector(0)).expect("a passage");
    let mut refused = |passage: Passage, vector: &[f32], message: &str| {
        let error = writer.add(passage, vector).expect_err(message);
        assert_eq!(error.code(), "invalid_input");
        assert!(error.to_string().contains(message), "{error}, not {message}");
    };
    refused(passage("a", Some(&other)), &vector(1), "its metadata");
    refused(passage("a", None), &[1.0], "1 dimensions");
    refused(passage("a", None), &[f32::NAN; 3], "NaN");
    refused(Passage { start: 5, ..passage("a", None) }, &vector(1), "ends before");
    refused(
        Passage { end: 5, ..passage("a", None) },
        &vector(1),
        "4 UTF-16 code units, but its start and end are 5 apart",
    );
    writer.add(passage("b", Some(&other)), &vector(1)).expect("a passage");
    let error = writer.add(passage("a", None), &vector(2)).expect_err("interrupted");
    assert!(error.to_string().contains("other documents are between"), "{error}");
    let write = |writer: Writer, space, probes| {
        let error = writer.write(&folder("refused"), "name", space, probes).expect_err("refused");
        error.to_string()
    };
    let empty = Writer::new(3, Similarity::Dot).expect("a writer");
    assert!(
        write(empty, Some(map(json!({ "model": "m" }))), Vec::new())
            .contains("needs at least one probe")
    );
    let probes = vec![Probe { text: "probe".into(), vector: vec![1.0] }];
    assert!(write(writer, None, probes).contains("1 dimensions, but the index has 3"));
    assert!(!folder("refused").exists(), "nothing is written");
}
