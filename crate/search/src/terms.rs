//! Which words are in which rows: `terms` parts, each a sorted dictionary with the rows of each term.

use std::collections::BTreeMap;

use crate::bits::BitSet;
use crate::error::{Error, Result};
use crate::parts::{Reader, head, put_varint};

/// Terms of which only the first is written whole, so that a search need not read the others before it.
const BLOCK_TERMS: usize = 16;

const MAGIC: &[u8; 4] = b"EVTM";
const PART: &str = "terms";

/// Collects the words of rows.
pub struct TermsBuilder {
    first_row: u32,
    rows: u32,
    terms: BTreeMap<String, Postings>,
}

/// The rows of a term: pairs of the distance to the row before (or to the first row) and of how often the term is in it.
#[derive(Default)]
struct Postings {
    bytes: Vec<u8>,
    /// The row that `count` is about, which is not yet in `bytes`.
    row: u32,
    count: u32,
}

impl Postings {
    fn add(&mut self, row: u32) {
        if self.row != row || self.count == 0 {
            let before = self.row;
            self.end_row();
            put_varint(&mut self.bytes, row - before);
            self.row = row;
        }
        self.count += 1;
    }

    fn end_row(&mut self) {
        if self.count > 0 {
            put_varint(&mut self.bytes, self.count);
            self.count = 0;
        }
    }
}

impl TermsBuilder {
    /// Of rows from this one on.
    pub fn new(first_row: u32) -> Self {
        Self { first_row, rows: 0, terms: BTreeMap::new() }
    }

    /// The next row's words, in any order, as often as they are in it. Empty ones do not count.
    pub fn add_row<S: AsRef<str>>(&mut self, words: impl IntoIterator<Item = S>) -> Result<()> {
        let row = self.rows;
        self.rows += 1;
        if self.first_row.checked_add(self.rows).is_none() {
            return Err(Error::invalid("an index can hold at most 4294967295 rows"));
        }
        for word in words {
            let word = word.as_ref();
            match self.terms.get_mut(word) {
                Some(postings) => postings.add(row),
                None if word.is_empty() => {}
                None => {
                    let mut postings = Postings::default();
                    postings.add(row);
                    self.terms.insert(word.into(), postings);
                }
            }
        }
        Ok(())
    }

    /// All terms as one part.
    pub fn encode(mut self) -> Vec<u8> {
        self.end_rows();
        self.encode_terms(self.terms.iter())
    }

    /// The terms in parts of about so many bytes each, with the first term of each; no term is divided.
    pub fn encode_pieces(mut self, bytes: usize) -> Vec<(String, Vec<u8>)> {
        self.end_rows();
        let mut pieces = Vec::new();
        let mut terms = self.terms.iter().peekable();
        while let Some((first, _)) = terms.peek() {
            let first = first.to_string();
            let mut size = 0;
            let mut piece = Vec::new();
            while let Some((term, postings)) = terms.next_if(|_| size < bytes) {
                size += term.len() + postings.bytes.len();
                piece.push((term, postings));
            }
            pieces.push((first, self.encode_terms(piece.into_iter())));
        }
        pieces
    }

    fn end_rows(&mut self) {
        self.terms.values_mut().for_each(Postings::end_row);
    }

    fn encode_terms<'a>(
        &self,
        terms: impl ExactSizeIterator<Item = (&'a String, &'a Postings)>,
    ) -> Vec<u8> {
        let count = terms.len();
        let mut starts = Vec::with_capacity(count.div_ceil(BLOCK_TERMS));
        let mut body = Vec::new();
        let mut before = "";
        for (i, (term, postings)) in terms.enumerate() {
            if i % BLOCK_TERMS == 0 {
                starts.push(body.len() as u32);
                before = "";
            }
            let shared = before.bytes().zip(term.bytes()).take_while(|(a, b)| a == b).count();
            put_varint(&mut body, shared as u32);
            put_varint(&mut body, (term.len() - shared) as u32);
            body.extend(&term.as_bytes()[shared..]);
            put_varint(&mut body, postings.bytes.len() as u32);
            body.extend(&postings.bytes);
            before = term;
        }
        let mut part = head(MAGIC);
        part.extend(
            [self.first_row, self.rows, count as u32].into_iter().flat_map(u32::to_le_bytes),
        );
        part.extend(starts.into_iter().flat_map(u32::to_le_bytes));
        part.extend(body);
        part
    }
}

/// A `terms` part that has been read and checked.
#[derive(Debug)]
pub struct Terms {
    first_row: u32,
    /// Where each block begins in `body`.
    starts: Vec<u32>,
    body: Vec<u8>,
}

/// A term's rows in order: the row in the upper half of each number, and how often the term is there in the lower one.
pub type Rows = Vec<u64>;

impl Terms {
    /// Reads a part of an index with so many rows.
    pub fn read(bytes: &[u8], rows: usize) -> Result<Self> {
        let mut reader = Reader::open(PART, MAGIC, bytes)?;
        let (first_row, count, terms) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let end = first_row.checked_add(count).filter(|&end| end as usize <= rows);
        let end = end.ok_or_else(|| {
            reader.damaged(format!("it names rows that are not among the index's {rows} rows"))
        })?;
        let starts = reader.words((terms as usize).div_ceil(BLOCK_TERMS))?;
        let starts = starts.map(u32::from_le_bytes).collect();
        let body = reader.rest().to_vec();
        let part = Self { first_row, starts, body };
        part.check(terms, end)?;
        Ok(part)
    }

    /// Whether all terms are in order, begin where `starts` says, and have rows before `end`.
    fn check(&self, terms: u32, end: u32) -> Result<()> {
        let mut reader = self.reader(0);
        let mut term = Vec::new();
        for i in 0..terms as usize {
            let before = (i > 0).then(|| term.clone());
            if i % BLOCK_TERMS == 0 {
                let at = self.body.len() - reader.rest().len();
                if self.starts[i / BLOCK_TERMS] as usize != at {
                    return Err(
                        reader.damaged("a block of terms does not begin where its table says")
                    );
                }
                term.clear();
            }
            let postings = next_term(&mut reader, &mut term)?;
            if std::str::from_utf8(&term).is_err() {
                return Err(reader.damaged("a term is not UTF-8"));
            }
            if before.is_some_and(|before| before >= term) {
                return Err(reader.damaged("its terms are not in order"));
            }
            let mut rows = Reader::new(PART, postings);
            let (mut row, mut is_first) = (u64::from(self.first_row), true);
            while !rows.is_empty() {
                let (distance, count) = (rows.varint()?, rows.varint()?);
                row += u64::from(distance);
                if (distance == 0 && !is_first) || count == 0 || row >= u64::from(end) {
                    return Err(
                        reader.damaged("a term's rows are not in order, or not among its rows")
                    );
                }
                is_first = false;
            }
        }
        reader
            .is_empty()
            .then_some(())
            .ok_or_else(|| reader.damaged("there is more data after its end"))
    }

    fn reader(&self, start: usize) -> Reader<'_> {
        Reader::new(PART, self.body.get(start..).unwrap_or_default())
    }

    /// Adds the rows of the terms that are the word, or begin with it. Later rows of a term that is there already come behind.
    pub fn find(
        &self,
        word: &str,
        is_prefix: bool,
        alive: &BitSet,
        found: &mut BTreeMap<String, Rows>,
    ) -> Result<()> {
        let word = word.as_bytes();
        let mut term = Vec::new();
        let mut error = None;
        // The last block whose first term is not behind the word.
        let block = self.starts.partition_point(|&start| {
            term.clear();
            match next_term(&mut self.reader(start as usize), &mut term) {
                Ok(_) => term[..] <= *word,
                Err(problem) => {
                    error = Some(problem);
                    false
                }
            }
        });
        if let Some(error) = error {
            return Err(error);
        }
        let mut blocks = self.starts.iter().skip(block.saturating_sub(1)).peekable();
        let Some(&start) = blocks.next() else { return Ok(()) };
        let mut reader = self.reader(start as usize);
        term.clear();
        while !reader.is_empty() {
            let at = (self.body.len() - reader.rest().len()) as u32;
            if blocks.next_if_eq(&&at).is_some() {
                term.clear();
            }
            let postings = next_term(&mut reader, &mut term)?;
            let is_found = if is_prefix { term.starts_with(word) } else { term == word };
            if is_found {
                self.add(&term, postings, alive, found)?;
            } else if term[..] > *word {
                break;
            }
        }
        Ok(())
    }

    fn add(
        &self,
        term: &[u8],
        postings: &[u8],
        alive: &BitSet,
        found: &mut BTreeMap<String, Rows>,
    ) -> Result<()> {
        let mut reader = Reader::new(PART, postings);
        let mut row = self.first_row;
        let mut rows = Vec::new();
        while !reader.is_empty() {
            row = row.saturating_add(reader.varint()?);
            let count = reader.varint()?;
            if alive.contains(row as usize) {
                rows.push(u64::from(row) << 32 | u64::from(count));
            }
        }
        if !rows.is_empty() {
            let term =
                std::str::from_utf8(term).map_err(|_| reader.damaged("a term is not UTF-8"))?;
            match found.get_mut(term) {
                Some(known) => known.extend(rows),
                None => drop(found.insert(term.into(), rows)),
            }
        }
        Ok(())
    }
}

/// Reads a term, of which `term` is the one before it, and gives its rows.
fn next_term<'a>(reader: &mut Reader<'a>, term: &mut Vec<u8>) -> Result<&'a [u8]> {
    let shared = reader.varint()? as usize;
    if shared > term.len() {
        return Err(
            reader.damaged("a term shares more bytes with the term before it than that term has")
        );
    }
    term.truncate(shared);
    let length = reader.varint()? as usize;
    term.extend(reader.take(length)?);
    let length = reader.varint()? as usize;
    reader.take(length)
}
