//! The artefact of the index: `embervec-search` for JavaScript.

use embervec_search as search;
use js_sys::{Array, Float32Array, JsString, Object, Uint32Array};
use wasm_bindgen::prelude::*;

use crate::{Result, js_error, set};

/// Rows in memory; see `embervec_search::Index`.
#[wasm_bindgen]
pub struct SearchEngine(search::Index);

#[wasm_bindgen]
impl SearchEngine {
    /// `similarity` is `"cosine"`, `"dot"` or `"euclidean"`.
    #[wasm_bindgen(constructor)]
    pub fn new(dimension: usize, similarity: &str) -> Result<Self> {
        let similarity = search::Similarity::parse(similarity).map_err(to_js)?;
        search::Index::new(dimension, similarity).map(Self).map_err(to_js)
    }

    /// The `scan` part of vectors, one after the other, of this index's dimension.
    pub fn quantize(&self, vectors: &[f32]) -> Result<Vec<u8>> {
        search::quantize(vectors, self.0.dimension()).map_err(to_js)
    }

    /// The `terms` part of the words of rows from `first_row` on: a list for each row, each word as often as it is there.
    #[wasm_bindgen(js_name = encodeTerms)]
    pub fn encode_terms(
        #[wasm_bindgen(unchecked_param_type = "string[][]")] words: Array,
        first_row: u32,
    ) -> Result<Vec<u8>> {
        let mut terms = search::TermsBuilder::new(first_row);
        for row in words.iter() {
            let row: Array = row.dyn_into().map_err(|_| no_words())?;
            let words = row.iter().map(|word| word.dyn_into::<JsString>().map(String::from));
            let words =
                words.collect::<std::result::Result<Vec<_>, _>>().map_err(|_| no_words())?;
            terms.add_row(words).map_err(to_js)?;
        }
        Ok(terms.encode())
    }

    /// Appends the rows of a `scan` part; `metadata` is a JSON array with an object or `null` for each. Gives the first row's
    /// number. If it throws, nothing is appended.
    pub fn append(&mut self, scan: &[u8], metadata: &str) -> Result<u32> {
        self.0.append(scan, metadata).map_err(to_js)
    }

    /// Takes a `terms` part about rows that are there; gives a handle for `removeTerms`.
    #[wasm_bindgen(js_name = appendTerms)]
    pub fn append_terms(&mut self, terms: &[u8]) -> Result<u32> {
        self.0.append_terms(terms).map_err(to_js)
    }

    /// Forgets a `terms` part.
    #[wasm_bindgen(js_name = removeTerms)]
    pub fn remove_terms(&mut self, handle: u32) -> Result<()> {
        self.0.remove_terms(handle).map_err(to_js)
    }

    /// Rows that are not to be found any more.
    pub fn remove(&mut self, rows: &[u32]) -> Result<()> {
        self.0.remove(rows).map_err(to_js)
    }

    /// How many rows there are, removed ones included.
    #[wasm_bindgen(getter)]
    pub fn rows(&self) -> usize {
        self.0.rows()
    }

    /// How many rows can be found.
    #[wasm_bindgen(getter)]
    pub fn alive(&self) -> usize {
        self.0.alive()
    }

    /// The rows that can be among the `k` nearest ones, best estimate first. `scores` are estimates, from which the scores are
    /// at most `errors` away. `isProven` is false where the signs of the values have chosen the rows first.
    #[wasm_bindgen(
        unchecked_return_type = "{ rows: Uint32Array; scores: Float32Array; errors: Float32Array; isProven: boolean }"
    )]
    pub fn search(&self, query: &[f32], k: usize, filter: Option<String>) -> Result<JsValue> {
        self.0.search(query, k, filter.as_deref()).map(|found| to_object(&found)).map_err(to_js)
    }

    /// The rows from row `from` on whose score can be at least `threshold`; as `search`.
    #[wasm_bindgen(
        unchecked_return_type = "{ rows: Uint32Array; scores: Float32Array; errors: Float32Array; isProven: boolean }"
    )]
    pub fn within(
        &self,
        query: &[f32],
        threshold: f32,
        from: usize,
        filter: Option<String>,
    ) -> Result<JsValue> {
        let found = self.0.within(query, threshold, from, filter.as_deref());
        found.map(|found| to_object(&found)).map_err(to_js)
    }

    /// Estimates of the scores of some rows, removed ones included.
    pub fn estimates(&self, query: &[f32], rows: &[u32]) -> Result<Vec<f32>> {
        self.0.estimates(query, rows).map_err(to_js)
    }

    /// The rows that match a filter, in order.
    pub fn matching(&self, filter: &str) -> Result<Vec<u32>> {
        self.0.matching(filter).map_err(to_js)
    }

    /// The rows of a word, or of all words that begin so. The rows of `terms[i]` end before `ends[i]`; it is `counts` times in each.
    #[wasm_bindgen(
        unchecked_return_type = "{ terms: string[]; ends: Uint32Array; rows: Uint32Array; counts: Uint32Array }"
    )]
    pub fn lookup(&self, word: &str, is_prefix: bool) -> Result<JsValue> {
        let found = self.0.lookup(word, is_prefix).map_err(to_js)?;
        let terms: Array = found.keys().map(JsValue::from).collect();
        let rows: Vec<u32> = found.values().flatten().map(|row| (row >> 32) as u32).collect();
        let counts: Vec<u32> = found.values().flatten().map(|&row| row as u32).collect();
        let ends = found.values().scan(0, |end, rows| {
            *end += rows.len() as u32;
            Some(*end)
        });
        let result = Object::new();
        set(&result, "terms", &terms);
        set(&result, "ends", &Uint32Array::from(&ends.collect::<Vec<_>>()[..]));
        set(&result, "rows", &Uint32Array::from(&rows[..]));
        set(&result, "counts", &Uint32Array::from(&counts[..]));
        Ok(result.into())
    }
}

fn to_object(found: &search::Candidates) -> JsValue {
    let result = Object::new();
    set(&result, "rows", &Uint32Array::from(&found.rows[..]));
    set(&result, "scores", &Float32Array::from(&found.scores[..]));
    set(&result, "errors", &Float32Array::from(&found.errors[..]));
    set(&result, "isProven", &JsValue::from(found.is_proven));
    result.into()
}

fn no_words() -> JsValue {
    js_error("invalid_input", "words must hold an array of strings for each row").into()
}

fn to_js(error: search::Error) -> JsValue {
    js_error(error.code(), &error.to_string()).into()
}
