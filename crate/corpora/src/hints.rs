//! Twelve hints for each of twenty topics, written for the demo: small enough to be there at once.

use anyhow::{Context, Result};
use embervec_json::Json;

use crate::{Corpus, Document, metadata};

const HINTS: &str = include_str!("hints.json");

/// Each topic is a document, each hint a passage.
pub fn read() -> Result<Corpus> {
    let hints = Json::parse(HINTS.as_bytes()).context("hints.json is not JSON")?;
    let topics = hints.as_object().context("hints.json has no topics")?;
    let documents = topics.iter().map(|(topic, hints)| {
        let hints = hints.as_list().unwrap_or_default().iter().filter_map(Json::as_str);
        let id = topic.to_lowercase().replace(' ', "-");
        let metadata = metadata(&id, topic, "hints", None, 0);
        Document { id, metadata, passages: hints.map(str::to_owned).collect() }
    });
    Ok(Corpus {
        name: "hints",
        title: "Everyday hints",
        description: "240 short hints on cooking, health, money, travel and more, written for this page.",
        source: "This project",
        licence: "MIT or Apache-2.0, as this project",
        examples: &[
            "my bread does not rise",
            "why is the sky blue",
            "I can't fall asleep",
            "nervous in front of an audience",
            "saving for old age",
            "fixing a leak in the kitchen",
        ],
        documents: documents.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_for_each_topic() {
        let corpus = read().expect("it is part of the program");
        assert_eq!(corpus.documents.len(), 20);
        assert!(corpus.documents.iter().all(|document| document.passages.len() == 12));
    }
}
