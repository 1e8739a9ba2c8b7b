//! Softmax attention over packed texts.

use std::array::from_fn;
use std::ops::Range;

use crate::math::Exp;
use crate::simd::{F32x4, LANES};
use crate::{F32Tile, Rotary, Selection};

/// What attention makes of how far a query and a key are apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relative<'a> {
    /// What queries and keys are turned by, where they are made.
    pub rotary: Option<Rotary<'a>>,
    /// What is added to their scores.
    pub bias: Option<RelativeBias<'a>>,
    /// How far a query sees at most, before and behind itself; all of its text where there is no limit.
    pub window: Option<usize>,
}

impl Relative<'_> {
    /// Without the first heads.
    pub(crate) fn of_heads_from(self, head: usize) -> Self {
        Self { bias: self.bias.map(|bias| bias.of_heads_from(head)), ..self }
    }

    /// Whether scores are changed once they are there.
    fn changes_scores(self) -> bool {
        self.bias.is_some() || self.window.is_some()
    }

    /// Of the first head what is added for the distances from `1 - tokens` on, so many times.
    fn unfold(self, tokens: usize, count: usize, out: &mut Vec<f32>) {
        out.clear();
        out.extend((0..count).map(|i| {
            // The distance is `i + 1 - tokens`.
            let is_seen = self.window.is_none_or(|reach| (i + 1).abs_diff(tokens) <= reach);
            match (is_seen, self.bias) {
                (false, _) => f32::NEG_INFINITY,
                (true, None) => 0.0,
                (true, Some(RelativeBias { values, reach })) => {
                    values[(i + reach + 1).saturating_sub(tokens).min(2 * reach)]
                }
            }
        }));
    }

    /// The keys that some of the queries see, from the first of a group of keys on.
    fn seen(self, queries: Range<usize>, tokens: usize) -> Range<usize> {
        let Some(reach) = self.window else { return 0..tokens };
        let start = queries.start.saturating_sub(reach) / LANES * LANES;
        start..queries.end.saturating_add(reach).min(tokens)
    }
}

/// What is added to every score, by how far the query lies behind the key.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias<'a> {
    /// `[num_heads, 2 * reach + 1]`: of each head what is added for the distances from `-reach` to `reach`.
    pub values: &'a [f32],
    /// Distances beyond count as this one.
    pub reach: usize,
}

impl RelativeBias<'_> {
    fn of_heads_from(self, head: usize) -> Self {
        Self { values: &self.values[head * (2 * self.reach + 1)..], ..self }
    }
}

/// `softmax(Q Kᵀ + bias) V` for every head, of each text's tokens to the tokens of the same text (Vaswani
/// et al., <https://arxiv.org/abs/1706.03762>), or to those in its window. The usual `1 / √head_size` is expected in `Q`, and
/// queries and keys that have been turned already.
///
/// One head of one text at a time: its keys and values, side by side, are 64 kB for 256 tokens of
/// MiniLM, so everything between reading `qkv` and writing `out` happens in cache.
///
/// # Shapes
///
/// - `qkv`: `[tokens, 3 * num_heads * head_size]`: each token's queries, keys, values
/// - `texts`: each text's range of tokens
/// - `out`: `[tokens, num_heads * head_size]`, the rows `stride` apart
///
/// # Panics
///
/// When the lengths do not fit.
#[inline(never)]
pub fn attention(
    qkv: &[f32],
    texts: &[Range<usize>],
    num_heads: usize,
    head_size: usize,
    relative: Relative,
    out: &mut [f32],
    stride: usize,
) {
    let hidden_size = num_heads * head_size;
    assert!(qkv.len().is_multiple_of(3 * hidden_size), "qkv");
    assert_eq!(qkv.len() / (3 * hidden_size), out.len().div_ceil(stride), "qkv and out");
    match Selection::current().f32_tile {
        F32Tile::N8 => run::<2>(qkv, texts, hidden_size, head_size, relative, out, stride),
        F32Tile::N16 => run::<4>(qkv, texts, hidden_size, head_size, relative, out, stride),
    }
}

fn run<const NV: usize>(
    qkv: &[f32],
    texts: &[Range<usize>],
    hidden_size: usize,
    head_size: usize,
    relative: Relative,
    out: &mut [f32],
    stride: usize,
) {
    let mut head = Head::<NV>::default();
    for text in texts {
        let qkv = &qkv[text.start * 3 * hidden_size..text.end * 3 * hidden_size];
        let end = out.len().min(text.end * stride);
        let out = &mut out[text.start * stride..end];
        for start in (0..hidden_size).step_by(head_size) {
            let relative = relative.of_heads_from(start / head_size);
            head.run(qkv, hidden_size, start..start + head_size, relative, out, stride);
        }
    }
}

/// `NV` vectors side by side: a row of a tile.
type Lanes<const NV: usize> = [[f32; LANES]; NV];

/// Working memory for one head of one text. Its queries are taken `4 * NV` at a time and each has a
/// lane, so that the softmax is the same arithmetic in every lane, and all that the loops read lies in
/// order.
#[derive(Default)]
struct Head<const NV: usize> {
    /// `[head_size]`: component by component the queries of a block.
    queries: Vec<Lanes<NV>>,
    /// `[⌈tokens / 4⌉, head_size]`: component by component four keys.
    keys: Vec<Lanes<1>>,
    /// `[⌈head_size / (4 * NV)⌉, tokens]`: `4 * NV` components of every value.
    values: Vec<Lanes<NV>>,
    /// `[⌈tokens / 4⌉ * 4]`: each key's scores, then their exponentials.
    scores: Vec<Lanes<NV>>,
    /// What is added to them for each distance, the smallest first; where that changes anything.
    bias: Vec<f32>,
}

impl<const NV: usize> Head<NV> {
    /// Columns of a tile.
    const WIDTH: usize = NV * LANES;

    /// # Shapes
    ///
    /// - `qkv`: `[tokens, 3 * hidden_size]`
    /// - `out`: `[tokens, hidden_size]`, the rows `stride` apart
    fn run(
        &mut self,
        qkv: &[f32],
        hidden_size: usize,
        columns: Range<usize>,
        relative: Relative,
        out: &mut [f32],
        stride: usize,
    ) {
        let token_stride = 3 * hidden_size;
        let tokens = qkv.len() / token_stride;
        self.pack(qkv, hidden_size, &columns);
        self.scores.resize(tokens.next_multiple_of(LANES), [[0.0; LANES]; NV]);

        if relative.changes_scores() {
            relative.unfold(tokens, 2 * tokens + Self::WIDTH, &mut self.bias);
        }

        let blocks =
            qkv.chunks(Self::WIDTH * token_stride).zip(out.chunks_mut(Self::WIDTH * stride));
        for (block, (qkv, out)) in blocks.enumerate() {
            self.queries.clear();
            transpose(qkv, token_stride, columns.clone(), &mut self.queries);
            let first = block * Self::WIDTH;
            let seen = relative.seen(first..first + Self::WIDTH, tokens);
            // The keys lie in groups.
            let keys = seen.start / LANES * columns.len()..seen.end.div_ceil(LANES) * columns.len();
            let mut largest = scores(&self.queries, &self.keys[keys], &mut self.scores);
            let scores = &mut self.scores[..seen.len()];
            if relative.changes_scores() {
                largest = add_bias(scores, &self.bias[first + tokens - seen.end..]);
            }
            let sums = exponentials(scores, &largest);
            for (four, out) in out.chunks_mut(LANES * stride).enumerate() {
                let rows = out.len().div_ceil(stride);
                for (p, values) in self.values.chunks_exact(tokens).enumerate() {
                    let values = &values[seen.clone()];
                    let start = columns.start + p * Self::WIDTH;
                    let columns = start..columns.end.min(start + Self::WIDTH);
                    if rows == LANES && columns.len() == Self::WIDTH {
                        let out = &mut out[start..];
                        averages(scores, four, &sums, values, out, stride);
                        continue;
                    }
                    let mut tile = [[[0.0; LANES]; NV]; LANES];
                    let whole = tile.as_flattened_mut().as_flattened_mut();
                    averages(scores, four, &sums, values, whole, Self::WIDTH);
                    for (row, out) in tile.iter().zip(out.chunks_mut(stride)) {
                        let row = &row.as_flattened()[..columns.len()];
                        out[columns.clone()].copy_from_slice(row);
                    }
                }
            }
        }
    }

    fn pack(&mut self, qkv: &[f32], hidden_size: usize, columns: &Range<usize>) {
        let part =
            |number| number * hidden_size + columns.start..number * hidden_size + columns.end;
        let token_stride = 3 * hidden_size;
        let tokens = qkv.len() / token_stride;
        self.keys.clear();
        self.keys.reserve(tokens.div_ceil(LANES) * columns.len());
        for tokens in qkv.chunks(LANES * token_stride) {
            transpose(tokens, token_stride, part(1), &mut self.keys);
        }
        self.values.clear();
        self.values.reserve(columns.len().div_ceil(Self::WIDTH) * tokens);
        for start in part(2).step_by(Self::WIDTH) {
            let columns = start..part(2).end.min(start + Self::WIDTH);
            for token in qkv.chunks_exact(token_stride) {
                let mut value = [[0.0; LANES]; NV];
                value.as_flattened_mut()[..columns.len()].copy_from_slice(&token[columns.clone()]);
                self.values.push(value);
            }
        }
    }
}

/// Appends columns of up to `4 * NV` rows as rows. The first stands for those that are missing.
fn transpose<const NV: usize>(
    rows: &[f32],
    stride: usize,
    columns: Range<usize>,
    out: &mut Vec<Lanes<NV>>,
) {
    let rows: [[&[f32]; LANES]; NV] = from_fn(|v| {
        from_fn(|lane| {
            let start = (v * LANES + lane) * stride;
            let start = if start < rows.len() { start } else { 0 };
            &rows[start..][columns.clone()]
        })
    });
    out.extend((0..columns.len()).map(|c| rows.map(|rows| rows.map(|row| row[c]))));
}

/// The scores of a block of queries to all keys, in the order of the components; and the largest of
/// each query.
///
/// # Shapes
///
/// As in [`Head`].
#[inline(never)]
#[cfg_attr(
    all(target_arch = "wasm32", feature = "relaxed"),
    target_feature(enable = "relaxed-simd")
)]
fn scores<const NV: usize>(
    queries: &[Lanes<NV>],
    keys: &[Lanes<1>],
    out: &mut [Lanes<NV>],
) -> Lanes<NV> {
    let mut largest = [F32x4::splat(f32::NEG_INFINITY); NV];
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (keys, out) in keys.chunks_exact(queries.len()).zip(out) {
        let mut sums = [[F32x4::splat(0.0); NV]; LANES];
        for ([key], query) in keys.iter().zip(queries) {
            add_products(key, query, &mut sums);
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for ((out, sum), largest) in out.iter_mut().zip(sums).zip(&mut largest) {
                *largest = largest.max(sum);
                sum.store(out);
            }
        }
    }
    largest.map(F32x4::to_array)
}

/// Adds to the scores of a block of queries what belongs to their distances from the keys; gives the largest of each query.
///
/// # Shapes
///
/// - `scores`: `[tokens]`
/// - `bias`: for the distances from that of the block's first query to the last key on
#[inline(never)]
fn add_bias<const NV: usize>(scores: &mut [Lanes<NV>], bias: &[f32]) -> Lanes<NV> {
    let mut largest = [F32x4::splat(f32::NEG_INFINITY); NV];
    for (start, scores) in scores.iter_mut().rev().enumerate() {
        let (bias, _) = bias[start..].as_chunks::<LANES>();
        for ((score, bias), largest) in scores.iter_mut().zip(bias).zip(&mut largest) {
            let sum = F32x4::load(score).add(F32x4::load(bias));
            *largest = largest.max(sum);
            sum.store(score);
        }
    }
    largest.map(F32x4::to_array)
}

/// Makes `e^(score − largest)` of scores; gives the sum of each lane, which is NaN where a score is not finite: a text of such
/// weights has no vector, and must not seem to have one.
#[inline(never)]
#[cfg_attr(
    all(target_arch = "wasm32", feature = "relaxed"),
    target_feature(enable = "relaxed-simd")
)]
fn exponentials<const NV: usize>(scores: &mut [Lanes<NV>], largest: &Lanes<NV>) -> Lanes<NV> {
    let exp = Exp::new();
    let largest = largest.each_ref().map(F32x4::load);
    let mut sums = largest.map(|largest| largest.sub(largest));
    for scores in scores {
        for ((x, &largest), sum) in scores.iter_mut().zip(&largest).zip(&mut sums) {
            let e = exp.of(F32x4::load(x).sub(largest));
            *sum = sum.add(e);
            e.store(x);
        }
    }
    sums.map(F32x4::to_array)
}

/// The values' averages for the queries of one of the `NV` vectors.
///
/// # Shapes
///
/// - `weights`, `values`: `[tokens]`
/// - `sums`: of the weights
/// - `out`: 4 rows of `4 * NV` values, `stride` apart
#[inline(never)]
#[cfg_attr(
    all(target_arch = "wasm32", feature = "relaxed"),
    target_feature(enable = "relaxed-simd")
)]
fn averages<const NV: usize>(
    weights: &[Lanes<NV>],
    vector: usize,
    sums: &Lanes<NV>,
    values: &[Lanes<NV>],
    out: &mut [f32],
    stride: usize,
) {
    assert!(vector < NV);
    let mut totals = [[F32x4::splat(0.0); NV]; LANES];
    for (weights, value) in weights.iter().zip(values) {
        add_products(&weights[vector], value, &mut totals);
    }
    for (r, (totals, sum)) in totals.into_iter().zip(sums[vector]).enumerate() {
        let factor = F32x4::splat(1.0 / sum);
        let (out, _) = out[r * stride..].as_chunks_mut();
        for (out, total) in out.iter_mut().zip(totals) {
            total.mul(factor).store(out);
        }
    }
}

/// One step of a tile.
#[inline(always)]
fn add_products<const NV: usize>(a: &[f32; LANES], b: &Lanes<NV>, sums: &mut [[F32x4; NV]; LANES]) {
    let b = b.each_ref().map(F32x4::load);
    for (sums, &a) in sums.iter_mut().zip(a) {
        for (sum, &b) in sums.iter_mut().zip(&b) {
            *sum = F32x4::splat(a).mul_add(b, *sum);
        }
    }
}
