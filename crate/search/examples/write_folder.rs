//! Writes an index into a folder, from JSON on standard input: `write_folder FOLDER < passages.jsonl`.
//!
//! The first line is `{ "name", "dimension", "similarity", "space"?, "probes" }`, each other one a passage with its vector:
//! `{ "document", "text", "start", "end", "metadata"?, "vector" }`. Passages of a document come one after the other.

use std::env;
use std::error::Error;
use std::io;
use std::path::PathBuf;

use embervec_search::Similarity;
use embervec_search::folder::{Passage, Probe, Writer};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Head {
    name: String,
    dimension: usize,
    similarity: String,
    space: Option<Map<String, Value>>,
    probes: Vec<Probe>,
}

#[derive(Deserialize)]
struct Line {
    document: String,
    text: String,
    start: usize,
    end: usize,
    metadata: Option<Map<String, Value>>,
    vector: Vec<f32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: write_folder FOLDER")?);
    let mut lines = io::stdin().lines();
    let head: Head = serde_json::from_str(&lines.next().ok_or("there is no input")??)?;
    let mut writer = Writer::new(head.dimension, Similarity::parse(&head.similarity)?)?;
    for line in lines {
        let line: Line = serde_json::from_str(&line?)?;
        let passage = Passage {
            document: &line.document,
            text: &line.text,
            start: line.start,
            end: line.end,
            metadata: line.metadata.as_ref(),
        };
        writer.add(passage, &line.vector)?;
    }
    writer.write(&folder, &head.name, head.space, head.probes)?;
    Ok(())
}
