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
        let mean = sum(out, |x| x) / size as f32;
        let means = F32x4::splat(mean);
        let variance = sum(out, |x| x.sub(means).mul(x.sub(means))) / size as f32;
        let factor = 1.0 / (variance + epsilon).sqrt();
        scale(out, mean, factor, weight, bias);
    }
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
