//! An index in memory.

use std::collections::BTreeMap;

use crate::bits::BitSet;
use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::scan::{Candidates, Query, SIGNS_FROM, no_row};
use crate::terms::{Rows, Terms};
use crate::vectors::{ScanPart, Similarity, Vectors};

/// Rows with their vectors, metadata and words. A removed row is no longer found, and its number is never used again.
pub struct Index {
    vectors: Vectors,
    alive: BitSet,
    columns: Columns,
    /// By handle.
    terms: Vec<Option<Terms>>,
}

impl Index {
    /// An index without rows.
    pub fn new(dimension: usize, similarity: Similarity) -> Result<Self> {
        Ok(Self {
            vectors: Vectors::new(dimension, similarity)?,
            alive: BitSet::default(),
            columns: Columns::default(),
            terms: Vec::new(),
        })
    }

    /// How many numbers a vector has.
    pub fn dimension(&self) -> usize {
        self.vectors.dimension
    }

    /// How many rows there are, removed ones included.
    pub fn rows(&self) -> usize {
        self.vectors.rows()
    }

    /// How many rows can be found.
    pub fn alive(&self) -> usize {
        self.alive.count()
    }

    /// Appends the rows of a `scan` part with their metadata, a JSON array, and returns the number of the first one. If
    /// the part or the metadata is invalid, nothing is appended.
    pub fn append(&mut self, scan: &[u8], metadata: &str) -> Result<u32> {
        let part = ScanPart::read(scan, self.vectors.dimension)?;
        let first = self.rows();
        let rows = first + part.rows();
        if u32::try_from(rows).is_err() {
            return Err(Error::invalid("an index can hold at most 4294967295 rows"));
        }
        self.columns.append(metadata, first, part.rows())?;
        self.vectors.append(&part);
        self.alive.grow(rows, true);
        if rows >= SIGNS_FROM && self.vectors.center().is_none() {
            self.vectors.keep_signs();
        }
        Ok(first as u32)
    }

    /// Adds a `terms` part, whose rows must exist, and returns a handle for [`Index::remove_terms`].
    pub fn append_terms(&mut self, terms: &[u8]) -> Result<u32> {
        let terms = Terms::read(terms, self.rows())?;
        self.terms.push(Some(terms));
        Ok(self.terms.len() as u32 - 1)
    }

    /// Forgets a `terms` part.
    pub fn remove_terms(&mut self, handle: u32) -> Result<()> {
        let removed = self.terms.get_mut(handle as usize).and_then(Option::take);
        removed.map(drop).ok_or_else(|| Error::invalid(format!("there are no terms {handle}")))
    }

    /// Removes rows. A row that is already removed is ignored.
    pub fn remove(&mut self, rows: &[u32]) -> Result<()> {
        if let Some(&row) = rows.iter().find(|&&row| row as usize >= self.rows()) {
            return Err(no_row(row as usize, self.rows()));
        }
        rows.iter().for_each(|&row| self.alive.remove(row as usize));
        Ok(())
    }

    /// The rows that can be among the `k` nearest ones, best estimate first.
    pub fn search(&self, query: &[f32], k: usize, filter: Option<&str>) -> Result<Candidates> {
        if k == 0 {
            return Err(Error::invalid("k must be at least 1"));
        }
        let query = Query::new(&self.vectors, query)?;
        Ok(query.best(k, &self.allowed(filter)?))
    }

    /// The rows from row `from` on whose score can be at least `score`, best estimate first.
    pub fn within(
        &self,
        query: &[f32],
        score: f32,
        from: usize,
        filter: Option<&str>,
    ) -> Result<Candidates> {
        if score.is_nan() {
            return Err(Error::invalid("the threshold is not a number"));
        }
        let query = Query::new(&self.vectors, query)?;
        let mut allowed = self.allowed(filter)?;
        (0..from.min(self.rows())).for_each(|row| allowed.remove(row));
        Ok(query.within(score, &allowed))
    }

    /// Estimates of the scores of some rows.
    pub fn estimates(&self, query: &[f32], rows: &[u32]) -> Result<Vec<f32>> {
        Query::new(&self.vectors, query)?.estimates(rows)
    }

    /// The rows that a filter matches.
    pub fn matching(&self, filter: &str) -> Result<Vec<u32>> {
        Ok(self.allowed(Some(filter))?.iter().map(|row| row as u32).collect())
    }

    /// The rows that contain a word, or any word that begins with it, by word.
    pub fn lookup(&self, word: &str, is_prefix: bool) -> Result<BTreeMap<String, Rows>> {
        let mut found = BTreeMap::new();
        for terms in self.terms.iter().flatten() {
            terms.find(word, is_prefix, &self.alive, &mut found)?;
        }
        for rows in found.values_mut() {
            // Parts may have come in any order, and one of them twice.
            rows.sort_unstable();
            rows.dedup_by_key(|row| *row >> 32);
        }
        Ok(found)
    }

    fn allowed(&self, filter: Option<&str>) -> Result<BitSet> {
        let Some(filter) = filter else { return Ok(self.alive.clone()) };
        let mut matching = self.columns.matching(&Filter::parse(filter)?, self.rows());
        matching.and(&self.alive);
        Ok(matching)
    }
}
