//! The parts of an index and a filter: files `scan`, `terms`, `metadata` and `filter`, and `rows`, `word` and `query` as plain text.

use embervec_search::{Index, Similarity};

use super::check_message;
use crate::archive::Archive;

/// Of all seeds.
const DIMENSION: usize = 4;

/// What errors may be about.
const NAMES: [&str; 6] = ["scan", "terms", "metadata", "filter", "rows", "dimension"];

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let archive = Archive::parse(bytes);
    let text = |name| String::from_utf8_lossy(archive.get(name).unwrap_or_default()).into_owned();
    let mut index =
        Index::new(DIMENSION, Similarity::Euclidean).map_err(|error| error.to_string())?;
    let scan = archive.get("scan").unwrap_or_default();
    if let Err(error) = index.append(scan, &text("metadata")) {
        check_message(&error.to_string(), &NAMES)?;
        if index.rows() != 0 {
            return Err(format!("{} rows are there after an error: {error}", index.rows()));
        }
    }
    if let Err(error) = index.append_terms(archive.get("terms").unwrap_or_default()) {
        check_message(&error.to_string(), &NAMES)?;
    }
    let matching = match index.matching(&text("filter")) {
        Ok(rows) => rows,
        Err(error) => {
            check_message(&error.to_string(), &NAMES)?;
            Vec::new()
        }
    };
    let query = [0.5, -0.25, 0.0, 1.0];
    let found = index.search(&query, 3, None).map_err(|error| error.to_string())?;
    if found.rows.len() < index.alive().min(3) {
        return Err(format!("{} candidates of {} rows", found.rows.len(), index.alive()));
    }
    let word = text("word");
    for is_prefix in [false, true] {
        let terms = index.lookup(&word, is_prefix).map_err(|error| error.to_string())?;
        for (term, rows) in terms {
            if !(if is_prefix { term.starts_with(&word) } else { term == word }) {
                return Err(format!("{term:?} is found for {word:?}"));
            }
            if rows.is_empty() || rows.iter().any(|row| row >> 32 >= index.rows() as u64) {
                return Err(format!("{term:?} has the rows {rows:?} of {}", index.rows()));
            }
        }
    }
    index.remove(&matching).map_err(|error| error.to_string())?;
    match index.matching(&text("filter")) {
        Ok(rows) if !rows.is_empty() => Err(format!("{rows:?} are removed and found")),
        _ => Ok(bytes.len()),
    }
}
