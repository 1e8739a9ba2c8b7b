//! Layer normalisation.

use crate::simd::{F32x4, LANES};

/// `out = (x − mean) / √(variance + epsilon) · weight + bias` of each row of `x`, or of
/// `x + residual` (Ba et al., <https://arxiv.org/abs/1607.06450>).
///
/// # Shapes
///
/// - `x`, `residual`, `out`: `[rows, size]`
/// - `weight`, `bias`: `[size]`
///
/// # Panics
///
/// When the lengths do not fit.
#[inline(never)]
pub fn layer_norm(
    x: &[f32],
    residual: Option<&[f32]>,
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    let size = weight.len();
    assert_eq!(bias.len(), size, "weight and bias");
    assert_eq!(x.len(), out.len(), "x and out");
    assert!(residual.is_none_or(|residual| residual.len() == x.len()), "x and residual");
    for (r, (x, out)) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)).enumerate() {
        match residual {
            Some(residual) => add(x, &residual[r * size..][..size], out),
            None => out.copy_from_slice(x),
        }
        normalize(out, weight, bias, epsilon);
    }
}

/// Layer normalisations of a token's queries and of its keys, those of all heads together.
#[derive(Clone, Copy, Debug)]
pub struct QkNorm<'a> {
    /// `[4, hidden_size]`: weight and bias of the queries, then of the keys.
    pub params: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

impl QkNorm<'_> {
    /// # Shapes
    ///
    /// `qkv`: `[tokens, 3 * hidden_size]`: each token's queries, keys, values
    pub(crate) fn apply(self, qkv: &mut [f32], hidden_size: usize) {
        for row in qkv.chunks_exact_mut(3 * hidden_size) {
            let parts = row.chunks_exact_mut(hidden_size);
            for (part, params) in parts.zip(self.params.chunks_exact(2 * hidden_size)) {
                let (weight, bias) = params.split_at(hidden_size);
                normalize(part, weight, bias, self.epsilon);
            }
        }
    }
}

#[inline(always)]
fn normalize(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let size = row.len() as f32;
    let mean = sum(row, |x| x) / size;
    let means = F32x4::splat(mean);
    let variance = sum(row, |x| x.sub(means).mul(x.sub(means))) / size;
    let factor = 1.0 / (variance + epsilon).sqrt();
    scale(row, mean, factor, weight, bias);
}

#[inline(always)]
fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + b;
    }
}

/// `Σ f(x)`, over four lanes and then their sum; a tail's missing values do not count.
#[inline(always)]
fn sum(row: &[f32], f: impl Fn(F32x4) -> F32x4) -> f32 {
    let (vectors, rest) = row.as_chunks::<LANES>();
    let sums = vectors.iter().fold(F32x4::splat(0.0), |sums, x| sums.add(f(F32x4::load(x))));
    rest.iter().fold(sums.sum(), |sum, &x| sum + f(F32x4::splat(x)).to_array()[0])
}

#[inline(always)]
fn scale(row: &mut [f32], mean: f32, factor: f32, weight: &[f32], bias: &[f32]) {
    for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *x = (*x - mean) * factor * weight + bias;
    }
}
