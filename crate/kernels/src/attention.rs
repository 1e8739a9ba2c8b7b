//! Softmax attention over packed texts.

use std::ops::Range;

use crate::Selection;
use crate::math::Exp;
use crate::simd::{F32x4, LANES};
use crate::tile::f32::f32_tile;
use crate::tile::{MR, NR, with_columns};

/// `softmax(Q Kᵀ) V` for every head, of each text's tokens to the tokens of the same text (Vaswani
/// et al., <https://arxiv.org/abs/1706.03762>). The usual `1 / √head_size` is expected in `Q`.
///
/// One head of one text at a time: its keys and values, packed like weights, are 64 kB for 256
/// tokens of MiniLM, so everything between reading `qkv` and writing `out` happens in cache.
///
/// # Shapes
///
/// - `qkv`: `[tokens, 3 * num_heads * head_size]`: each token's queries, keys, values
/// - `texts`: each text's range of tokens
/// - `out`: `[tokens, num_heads * head_size]`
///
/// # Panics
///
/// When the lengths do not fit.
pub fn attention(
    qkv: &[f32],
    texts: impl Iterator<Item = Range<usize>>,
    num_heads: usize,
    head_size: usize,
    out: &mut [f32],
) {
    let hidden_size = num_heads * head_size;
    assert_eq!(qkv.len(), 3 * out.len(), "qkv and out");
    assert_eq!(out.len() % hidden_size, 0, "out");
    let mut head = Head::default();
    for text in texts {
        let qkv = &qkv[text.start * 3 * hidden_size..text.end * 3 * hidden_size];
        let out = &mut out[text.start * hidden_size..text.end * hidden_size];
        for h in 0..num_heads {
            head.run(qkv, hidden_size, h * head_size..(h + 1) * head_size, out);
        }
    }
}

/// Working memory for one head of one text.
#[derive(Default)]
struct Head {
    /// `[⌈tokens / 16⌉, 1 + head_size, 16]`: panels of 16 keys, as [`f32_tile`] takes them.
    keys: Vec<[f32; NR]>,
    /// `[⌈head_size / 16⌉, 1 + tokens, 16]`: panels of 16 components of the values.
    values: Vec<[f32; NR]>,
    /// `[4, tokens]`, rows a multiple of 16 apart: the scores of four queries, then their softmax.
    scores: Vec<f32>,
}

impl Head {
    /// # Shapes
    ///
    /// `qkv`: `[tokens, 3 * hidden_size]`, `out`: `[tokens, hidden_size]`
    fn run(&mut self, qkv: &[f32], hidden_size: usize, columns: Range<usize>, out: &mut [f32]) {
        let variant = Selection::current().f32_tile;
        let head_size = columns.len();
        let tokens = out.len() / hidden_size;
        let token_stride = 3 * hidden_size;
        self.pack(qkv, hidden_size, &columns);

        let stride = tokens.next_multiple_of(NR);
        self.scores.clear();
        self.scores.resize(MR * stride, 0.0);
        for first in (0..tokens).step_by(MR) {
            let rows = MR.min(tokens - first);
            let queries = &qkv[first * token_stride + columns.start..];
            for (p, panel) in self.keys.chunks_exact(1 + head_size).enumerate() {
                let scores = &mut self.scores[p * NR..];
                f32_tile(variant, rows, queries, token_stride, panel, scores, stride);
            }
            for scores in self.scores.chunks_exact_mut(stride).take(rows) {
                softmax(&mut scores[..tokens]);
            }
            let out = &mut out[first * hidden_size..];
            for (p, panel) in self.values.chunks_exact(1 + tokens).enumerate() {
                let part = columns.start + p * NR..columns.end.min(columns.start + (p + 1) * NR);
                with_columns(rows, part, out, hidden_size, |out, out_stride| {
                    f32_tile(variant, rows, &self.scores, stride, panel, out, out_stride);
                });
            }
        }
    }

    /// Every panel begins with zeros where a linear layer has its bias.
    fn pack(&mut self, qkv: &[f32], hidden_size: usize, columns: &Range<usize>) {
        let head_size = columns.len();
        let token_stride = 3 * hidden_size;
        let tokens = qkv.len() / token_stride;
        let key_steps = 1 + head_size;
        self.keys.clear();
        self.keys.resize(tokens.div_ceil(NR) * key_steps, [0.0; NR]);
        let value_steps = 1 + tokens;
        self.values.clear();
        self.values.resize(head_size.div_ceil(NR) * value_steps, [0.0; NR]);
        for (t, token) in qkv.chunks_exact(token_stride).enumerate() {
            let key = &token[hidden_size..][columns.clone()];
            let panel = &mut self.keys[t / NR * key_steps + 1..][..head_size];
            for (step, &x) in panel.iter_mut().zip(key) {
                step[t % NR] = x;
            }
            let value = &token[2 * hidden_size..][columns.clone()];
            for (p, part) in value.chunks(NR).enumerate() {
                self.values[p * value_steps + 1 + t][..part.len()].copy_from_slice(part);
            }
        }
    }
}

/// `e^(x − max) / Σ e^(x − max)`.
#[inline(never)]
#[cfg_attr(
    all(target_arch = "wasm32", feature = "relaxed"),
    target_feature(enable = "relaxed-simd")
)]
fn softmax(row: &mut [f32]) {
    let (vectors, rest) = row.as_chunks_mut::<LANES>();
    let lowest = F32x4::splat(f32::NEG_INFINITY);
    let largest = vectors.iter().fold(lowest, |largest, x| largest.max(F32x4::load(x)));
    let largest = rest.iter().fold(largest.largest(), |largest, &x| largest.max(x));
    let largest = F32x4::splat(largest);
    let exp = Exp::new();
    let mut sums = F32x4::splat(0.0);
    for x in &mut *vectors {
        let e = exp.of(F32x4::load(x).sub(largest));
        sums = sums.add(e);
        e.store(x);
    }
    let mut sum = sums.sum();
    for x in &mut *rest {
        *x = exp.of(F32x4::splat(*x).sub(largest)).to_array()[0];
        sum += *x;
    }
    let factor = 1.0 / sum;
    for x in vectors {
        F32x4::load(x).mul(F32x4::splat(factor)).store(x);
    }
    for x in rest {
        *x *= factor;
    }
}
