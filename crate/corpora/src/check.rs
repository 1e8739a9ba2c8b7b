//! What is found in the corpora, beside what sentence-transformers finds (`tests/fixtures/retrieval.json`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use embervec_embed::{Embedder, EncodeOptions, Task};
use serde::Deserialize;

use crate::vectors::passages_sha256;
use crate::{Corpus, Vectors};

/// What sentence-transformers finds in 32 bits.
#[derive(Debug, Deserialize)]
pub struct Fixture {
    /// By the name of the corpus.
    pub corpora: BTreeMap<String, Expected>,
}

/// What it finds in one corpus.
#[derive(Debug, Deserialize)]
pub struct Expected {
    /// As [`passages_sha256`] computes it.
    sha256: String,
    /// Queries with what is found.
    pub queries: Vec<Query>,
}

/// A query with what is found.
#[derive(Debug, Deserialize)]
pub struct Query {
    /// Its text.
    pub query: String,
    /// The best passages, best first.
    pub rows: Vec<usize>,
    /// The scores of these, and that of the next one.
    pub scores: Vec<f32>,
}

/// How alike the two are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Number of queries.
    pub queries: usize,
    /// For how many of them the same passages are found in the same order.
    pub same: usize,
    /// How many of the ten best are among the ten best, on average.
    pub in_common: f64,
    /// For the query where they are fewest.
    pub fewest: usize,
    /// How far a score of one of their passages is from theirs, at most.
    pub score_error: f32,
}

impl Fixture {
    /// The file's content.
    ///
    /// # Errors
    ///
    /// When it is not what the generator writes.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).context("the fixture is not what retrieval.py writes")
    }

    /// What they find in a corpus; nothing if it is not in the fixture.
    ///
    /// # Errors
    ///
    /// When the corpus has other passages than theirs.
    pub fn of(&self, corpus: &Corpus) -> Result<Option<&Expected>> {
        let Some(expected) = self.corpora.get(corpus.name) else {
            return Ok(None);
        };
        ensure!(
            expected.sha256 == passages_sha256(&corpus.passages()),
            "{} has other passages than the fixture is of: run tests/fixtures/retrieval.py",
            corpus.name
        );
        Ok(Some(expected))
    }
}

/// Compares what is found by these vectors.
///
/// # Errors
///
/// When a query cannot be encoded.
pub fn compare(expected: &Expected, vectors: &Vectors, embedder: &Embedder) -> Result<Agreement> {
    let mut agreement =
        Agreement { queries: 0, same: 0, in_common: 0.0, fewest: usize::MAX, score_error: 0.0 };
    for Query { query, rows, scores } in &expected.queries {
        let own = scores_of(&encode_query(embedder, query)?, vectors);
        let mut order: Vec<usize> = (0..own.len()).collect();
        order.sort_by(|&a, &b| own[b].total_cmp(&own[a]).then(a.cmp(&b)));
        order.truncate(rows.len());
        let in_common = order.iter().filter(|row| rows.contains(row)).count();
        agreement.queries += 1;
        agreement.same += usize::from(order == *rows);
        agreement.in_common += in_common as f64;
        agreement.fewest = agreement.fewest.min(in_common);
        for (&row, score) in rows.iter().zip(scores) {
            agreement.score_error = agreement.score_error.max((own[row] - score).abs());
        }
    }
    agreement.in_common /= agreement.queries as f64;
    Ok(agreement)
}

/// The vector of a query.
///
/// # Errors
///
/// When it cannot be encoded.
pub fn encode_query(embedder: &Embedder, query: &str) -> Result<Vec<f32>> {
    let options = EncodeOptions { task: Some(Task::Query), ..EncodeOptions::default() };
    Ok(embedder.encode(&[query], &options)?.vectors)
}

/// The cosine of a query's vector and each passage's.
fn scores_of(query: &[f32], vectors: &Vectors) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    let length = |a: &[f32]| dot(a, a).sqrt();
    let rows = vectors.values.chunks_exact(vectors.dimension);
    rows.map(|row| (dot(row, query) / (length(row) * length(query))) as f32).collect()
}
