//! The exact scan: which rows can be among the best `k`.
//!
//! A row `v` is kept as 8-bit integers `v̂` with `‖v − v̂‖ ≤ error`, a query `q` becomes 16-bit integers `q̂`. The product of the
//! integers is an estimate with a bound:
//!
//! `|q·v − q̂·v̂| ≤ |q·(v − v̂)| + |(q − q̂)·v̂| ≤ ‖q‖·error + ‖q − q̂‖·‖v̂‖`, and `‖v̂‖ ≤ ‖v‖ + error`.
//!
//! A row whose estimate and bound together are below the `k`-th largest of all estimates less their bounds is not among
//! the best `k`. All other rows are given; with their vectors in `f32` the caller finds the best among them, and these are
//! the best of all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use embervec_kernels::{
    QUERY_BITS, Reach, RowFactors, SignRow, above, bit_dot, bit_planes, bit_words, i8_dot,
};

use crate::bits::{BitSet, ones};
use crate::error::{Error, Result};
use crate::vectors::{
    CHUNK_ROWS, COSINE_EPSILON, Chunk, Similarity, VALUE_MAX, Vectors, round_up, size,
};

/// From so many rows on that may be hits, a scan of their signs comes first: 1 bit a dimension.
pub const SIGNS_FROM: usize = 300_000;

/// Of the rows, one in so many is looked at after a scan of their signs. Share of the best 10 of 300,000 that are found so, over 60 queries
/// (`tests/exact.rs`):
///
/// | one in | random unit vectors | vectors in a cone of cosine 0.7 |
/// |---|---|---|
/// | 12 | 1 | 0.998 |
/// | 24 | 0.998 | 0.998 |
/// | 48 | 0.990 | 0.987 |
/// | 96 | 0.963 | 0.968 |
pub const SIGNS_KEEP: usize = 24;

/// Steps of the estimates by signs, to find the best of them without sorting them.
const STEPS: usize = 4096;

/// For rounding in `f32`, here and in the scan that this one is compared with: 16 units in the last place.
const SLACK: f32 = 1.0 / (1 << 20) as f32;

/// Rows of a chunk in one word of a set.
const WORD_ROWS: usize = 64;

/// Rows that are scanned together if one of them is allowed.
const GROUP: usize = 8;

/// Rows, best first: by estimate, then by number.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Their numbers.
    pub rows: Vec<u32>,
    /// Estimates of their scores.
    pub scores: Vec<f32>,
    /// How far the score may be from its estimate.
    pub errors: Vec<f32>,
    /// Whether the best `k` are certainly among them.
    pub is_proven: bool,
}

/// A row's key, which orders rows as their scores do: the cosine, the product, or the product less half the square of
/// the row's length. `lower` and `upper` are its bounds.
#[derive(Clone, Copy)]
struct Key {
    row: u32,
    estimate: f32,
    bound: f32,
}

/// A query for a scan of signs: `query = share · center + rest`, and `rest` in few bits.
///
/// The product with a row is that with the center, which is the same for all rows, and that with the row's distance from the center,
/// of which `share` of the product with the center is known exactly. Only the one with `rest` is an estimate.
struct SignQuery {
    share: f32,
    planes: Vec<u64>,
    /// Sum of the values in `planes`.
    sum: i32,
    scale: f32,
}

impl SignQuery {
    fn new(query: &[f32], divisor: f64, center: &[f32]) -> Self {
        let query = query.iter().map(|&x| (f64::from(x) / divisor) as f32);
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let query: Vec<f32> = query.collect();
        let share = product(&query, center) / product(center, center).max(f32::MIN_POSITIVE);
        let rest = query.iter().zip(center).map(|(x, center)| x - share * center);
        let rest: Vec<f32> = rest.collect();
        let largest = rest.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let scale = largest / ((1 << (QUERY_BITS - 1)) - 1) as f32;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let values: Vec<i8> = rest.iter().map(|x| (x * inverse).round() as i8).collect();
        Self {
            share,
            planes: bit_planes(&values),
            sum: values.iter().map(|&x| i32::from(x)).sum(),
            scale,
        }
    }

    fn estimate(&self, row: SignRow, negative: i32) -> f32 {
        (self.sum - 2 * negative) as f32 * (self.scale * row.factor) + self.share * row.along
    }
}

/// A query, ready for scans.
pub struct Query<'a> {
    vectors: &'a Vectors,
    values: Vec<i16>,
    signs: Option<SignQuery>,
    estimate: Reach,
    upper: Reach,
    /// Of the query's length.
    square: f64,
}

impl<'a> Query<'a> {
    /// Prepares a query.
    pub fn new(vectors: &'a Vectors, query: &[f32]) -> Result<Self> {
        let dimension = vectors.dimension;
        if query.len() != dimension {
            return Err(Error::invalid(format!(
                "the query has {} dimensions, but the index has {dimension}",
                query.len()
            )));
        }
        let length = size(query, || "the query".into())?;
        let largest = query.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        // The largest sum of products is 2³¹ - 1.
        let max = i32::MAX as usize / (VALUE_MAX as usize * dimension);
        let max = max.min(i16::MAX as usize) as f64;
        let scale = f64::from(largest) / max;
        let quantized =
            |x: f32, scale: f64| if scale > 0.0 { (f64::from(x) / scale).round() } else { 0.0 };
        let values: Vec<i16> = query.iter().map(|&x| quantized(x, scale) as i16).collect();
        let squares = query.iter().zip(&values);
        let squares = squares.map(|(&x, &q)| (f64::from(x) - f64::from(q) * scale).powi(2));
        let error = squares.sum::<f64>().sqrt();

        let divisor = match vectors.similarity {
            Similarity::Cosine => length.max(COSINE_EPSILON),
            Similarity::Dot | Similarity::Euclidean => 1.0,
        };
        let half_square = match vectors.similarity {
            Similarity::Euclidean => 0.5,
            Similarity::Cosine | Similarity::Dot => 0.0,
        };
        let (length, error) = (length / divisor, error / divisor);
        let scale = (scale / divisor) as f32;
        Ok(Self {
            vectors,
            values,
            signs: vectors.center().map(|center| SignQuery::new(query, divisor, center)),
            estimate: Reach { scale, error: 0.0, size: 0.0, square: -half_square },
            upper: Reach {
                scale,
                error: round_up((length + error) * f64::from(1.0 + SLACK)),
                size: round_up(error * f64::from(1.0 + SLACK) + length * f64::from(SLACK)),
                square: half_square * (2.0 * SLACK - 1.0),
            },
            square: length * length,
        })
    }

    fn key(&self, chunk: &Chunk, first: usize, row: usize, dot: i32) -> Key {
        let (scale, error, size) = (chunk.scale[row], chunk.error[row], chunk.size[row]);
        let estimate = self.estimate.of(dot, scale, error, size);
        let bound = self.upper.of(0, scale, error, size) - self.estimate.of(0, scale, error, size);
        Key { row: (first + row) as u32, estimate, bound }
    }

    /// The score that a key stands for, and how far it may be off.
    fn score(&self, key: Key) -> (f32, f32) {
        match self.vectors.similarity {
            Similarity::Cosine | Similarity::Dot => (key.estimate, key.bound),
            Similarity::Euclidean => {
                let distance = |key: f64| (self.square - 2.0 * key).max(0.0).sqrt();
                let (estimate, bound) = (f64::from(key.estimate), f64::from(key.bound));
                let at = distance(estimate);
                let off = (at - distance(estimate + bound)).max(distance(estimate - bound) - at);
                // The score itself is rounded, too.
                (-at as f32, round_up(off + at * f64::from(f32::EPSILON)))
            }
        }
    }

    /// The largest key of a score, for [`Query::within`].
    fn key_of_score(&self, score: f64) -> f64 {
        match self.vectors.similarity {
            Similarity::Cosine | Similarity::Dot => score,
            // No distance is below 0.
            Similarity::Euclidean if score > 0.0 => f64::INFINITY,
            Similarity::Euclidean => (self.square - score * score) / 2.0,
        }
    }

    /// Of keys in the order of their rows.
    fn candidates(&self, keys: &[Key], is_proven: bool) -> Candidates {
        // Integers in the order that is wanted: the largest estimate first, then the first row.
        let rank = |(i, key): (usize, &Key)| {
            u64::from(!order(key.estimate) as u32 ^ 1 << 31) << 32 | i as u64
        };
        let mut ranks: Vec<u64> = keys.iter().enumerate().map(rank).collect();
        ranks.sort_unstable();
        let mut found = Candidates { is_proven, ..Candidates::default() };
        for key in ranks.into_iter().map(|rank| keys[rank as u32 as usize]) {
            let (score, error) = self.score(key);
            found.rows.push(key.row);
            found.scores.push(score);
            found.errors.push(error);
        }
        found
    }

    /// All rows of `allowed` that can be among the best `k`.
    pub fn best(&self, k: usize, allowed: &BitSet) -> Candidates {
        let signs = self.signs.as_ref().filter(|_| allowed.count() >= SIGNS_FROM);
        let kept = signs.map(|signs| self.best_by_signs(signs, allowed));
        let mut best = Best { k, lower: BinaryHeap::new(), keys: Vec::new() };
        self.scan(kept.as_ref().unwrap_or(allowed), &mut best);
        let threshold = best.threshold();
        best.keys.retain(|key| key.estimate + key.bound >= threshold);
        self.candidates(&best.keys, kept.is_none())
    }

    /// All rows of `allowed` that can have at least this score.
    pub fn within(&self, score: f32, allowed: &BitSet) -> Candidates {
        let threshold = self.key_of_score(f64::from(score)) as f32;
        let slack = threshold.abs() * SLACK + f32::MIN_POSITIVE;
        let mut all = All { threshold: threshold - slack, keys: Vec::new() };
        self.scan(allowed, &mut all);
        self.candidates(&all.keys, true)
    }

    /// Estimates of the scores of some rows.
    pub fn estimates(&self, rows: &[u32]) -> Result<Vec<f32>> {
        let mut dots = [0];
        let dimension = self.vectors.dimension;
        let estimate = |&row: &u32| {
            let row = row as usize;
            if row >= self.vectors.rows() {
                return Err(no_row(row, self.vectors.rows()));
            }
            let chunk = &self.vectors.chunks[row / CHUNK_ROWS];
            let at = row % CHUNK_ROWS;
            i8_dot(&chunk.values[at * dimension..][..dimension], &self.values, &mut dots);
            Ok(self.score(self.key(chunk, row - at, at, dots[0])).0)
        };
        rows.iter().map(estimate).collect()
    }

    fn scan(&self, allowed: &BitSet, found: &mut impl Found) {
        let dimension = self.vectors.dimension;
        let mut dots = [0; CHUNK_ROWS];
        for (c, chunk) in self.vectors.chunks.iter().enumerate() {
            let first = c * CHUNK_ROWS;
            let masks: [u64; CHUNK_ROWS / WORD_ROWS] =
                std::array::from_fn(|i| allowed.word(first / WORD_ROWS + i));
            for (start, end) in runs(&masks, chunk.rows()) {
                let values = &chunk.values[start * dimension..end * dimension];
                i8_dot(values, &self.values, &mut dots[start..end]);
            }
            for (w, mask) in masks.into_iter().enumerate().filter(|(_, mask)| *mask != 0) {
                let rows = w * WORD_ROWS..chunk.rows().min((w + 1) * WORD_ROWS);
                let factors = RowFactors {
                    scale: &chunk.scale[rows.clone()],
                    error: &chunk.error[rows.clone()],
                    size: &chunk.size[rows.clone()],
                };
                let hits = above(&dots[rows.clone()], factors, &self.upper, found.threshold());
                for bit in ones(hits & mask) {
                    let row = rows.start + bit;
                    found.take(self.key(chunk, first, row, dots[row]));
                }
            }
        }
    }

    /// Of `allowed`, one row in [`SIGNS_KEEP`]: the best ones by the signs of their values.
    fn best_by_signs(&self, signs: &SignQuery, allowed: &BitSet) -> BitSet {
        let words = bit_words(self.vectors.dimension);
        let mut keys = Vec::with_capacity(self.vectors.rows());
        let mut dots = [0; CHUNK_ROWS];
        for chunk in &self.vectors.chunks {
            let rows = chunk.rows();
            bit_dot(&chunk.signs[..rows * words], &signs.planes, &mut dots[..rows]);
            let rows = chunk.sign_rows.iter().zip(&chunk.size);
            keys.extend(dots.iter().zip(rows).map(|(&negative, (&row, &size))| {
                signs.estimate(row, negative) + size * size * self.estimate.square
            }));
        }
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        for row in allowed.iter() {
            least = least.min(keys[row]);
            most = most.max(keys[row]);
        }
        let per_step = (STEPS - 1) as f32 / (most - least).max(f32::MIN_POSITIVE);
        let step = |key: f32| (((key - least) * per_step) as usize).min(STEPS - 1);
        let mut counts = vec![0_usize; STEPS];
        allowed.iter().for_each(|row| counts[step(keys[row])] += 1);
        let wanted = allowed.count() / SIGNS_KEEP;
        let (mut from, mut count) = (STEPS, 0);
        while from > 0 && count < wanted {
            from -= 1;
            count += counts[from];
        }
        let mut kept = BitSet::empty(self.vectors.rows());
        allowed.iter().filter(|&row| step(keys[row]) >= from).for_each(|row| kept.insert(row));
        kept
    }
}

pub fn no_row(row: usize, rows: usize) -> Error {
    Error::invalid(format!("there is no row {row}: the index has {rows} rows"))
}

/// Groups of rows that are next to each other, in each of which a row is allowed.
fn runs(masks: &[u64], rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let groups = rows.div_ceil(GROUP);
    let is_allowed =
        |group: usize| masks[group * GROUP / WORD_ROWS] >> (group * GROUP % WORD_ROWS) & 0xff != 0;
    let mut group = 0;
    std::iter::from_fn(move || {
        let start = (group..groups).find(|&group| is_allowed(group))?;
        group = (start..groups).find(|&group| !is_allowed(group)).unwrap_or(groups);
        Some((start * GROUP, rows.min(group * GROUP)))
    })
}

/// What a scan looks for.
trait Found {
    /// Rows that do not reach beyond it are not wanted.
    fn threshold(&self) -> f32;
    fn take(&mut self, key: Key);
}

struct Best {
    k: usize,
    /// The `k` largest lower bounds, by [`order`].
    lower: BinaryHeap<Reverse<i32>>,
    keys: Vec<Key>,
}

impl Found for Best {
    /// Rows come in order. One that just reaches it comes behind `k` rows that are as good or better.
    fn threshold(&self) -> f32 {
        match self.lower.peek() {
            Some(&Reverse(least)) if self.lower.len() == self.k => unordered(least),
            _ => f32::NEG_INFINITY,
        }
    }

    fn take(&mut self, key: Key) {
        if key.estimate + key.bound <= self.threshold() {
            return;
        }
        self.keys.push(key);
        self.lower.push(Reverse(order(key.estimate - key.bound)));
        if self.lower.len() > self.k {
            self.lower.pop();
        }
    }
}

struct All {
    threshold: f32,
    keys: Vec<Key>,
}

impl Found for All {
    fn threshold(&self) -> f32 {
        self.threshold
    }

    fn take(&mut self, key: Key) {
        self.keys.push(key);
    }
}

/// Integers in the order of `f32`s.
fn order(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ (bits >> 31 & i32::MAX)
}

fn unordered(bits: i32) -> f32 {
    f32::from_bits((bits ^ (bits >> 31 & i32::MAX)) as u32)
}
