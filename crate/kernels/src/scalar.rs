//! What the kernels mean, in plain loops and, where rounding counts, in `f64`. Slow; the tests
//! compare every variant with it.

use std::ops::Range;

use crate::{ACTIVATION_MAX, Activation, Reach, Relative, RelativeBias, RowFactors, RowQ8};

/// `x · weightᵀ + bias`.
///
/// # Shapes
///
/// `x`: `[rows, in_features]`, `weight`: `[out_features, in_features]`, `bias`: `[out_features]`;
/// returns `[rows, out_features]`.
pub fn linear_f32(x: &[f32], weight: &[f32], bias: &[f32], in_features: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for x in x.chunks_exact(in_features) {
        for (weight, &bias) in weight.chunks_exact(in_features).zip(bias) {
            let products = x.iter().zip(weight).map(|(&x, &w)| f64::from(x) * f64::from(w));
            out.push(f64::from(bias) + products.sum::<f64>());
        }
    }
    out
}

/// The integers of [`crate::linear`] with 7-bit weights: `Σ q (u − y)` and the scale of each row of `x`.
///
/// # Shapes
///
/// `x`: `[rows, in_features]`, `weight`: `[out_features, in_features]`, `rows`: `[out_features]`;
/// returns `[rows, out_features]` and `[rows]`.
pub fn linear_q8(
    x: &[f32],
    weight: &[u8],
    rows: &[RowQ8],
    in_features: usize,
) -> (Vec<i32>, Vec<f32>) {
    let (mut sums, mut scales) = (Vec::new(), Vec::new());
    for x in x.chunks_exact(in_features) {
        let (q, scale) = quantize_activations(&rotate(x));
        scales.push(scale);
        for (weight, row) in weight.chunks_exact(in_features).zip(rows) {
            let zero_point = i32::from(row.zero_point);
            let products = q.iter().zip(weight);
            let products = products.map(|(&q, &u)| q * (i32::from(u) - zero_point));
            sums.push(products.sum());
        }
    }
    (sums, scales)
}

/// A row times the Hadamard matrix of each of its blocks, as the usual recursion defines it:
/// `[[H, H], [H, -H]]`, on values 4 apart. Sums in the order of the recursion, in `f32`.
pub fn rotate(x: &[f32]) -> Vec<f32> {
    fn hadamard(x: &[f32]) -> Vec<f32> {
        if x.len() == 1 {
            return x.to_vec();
        }
        let (a, b) = x.split_at(x.len() / 2);
        let (a, b) = (hadamard(a), hadamard(b));
        let sums = a.iter().zip(&b).map(|(a, b)| a + b);
        sums.chain(a.iter().zip(&b).map(|(a, b)| a - b)).collect()
    }
    if !x.len().is_multiple_of(4) {
        return x.to_vec();
    }
    let block = (1 << (x.len() / 4).trailing_zeros()).min(32);
    let mut out = x.to_vec();
    for (start, lane) in (0..x.len()).step_by(4 * block).flat_map(|s| (0..4).map(move |l| (s, l))) {
        let column: Vec<f32> = (0..block).map(|i| x[start + 4 * i + lane]).collect();
        for (i, value) in hadamard(&column).into_iter().enumerate() {
            out[start + 4 * i + lane] = value;
        }
    }
    out
}

/// A row's quantised values and scale.
pub fn quantize_activations(x: &[f32]) -> (Vec<i32>, f32) {
    let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let levels = ACTIVATION_MAX as f32;
    if largest < f32::MIN_POSITIVE * levels {
        return (vec![0; x.len()], 0.0);
    }
    let inverse = levels / largest;
    (x.iter().map(|x| (x * inverse).round_ties_even() as i32).collect(), largest / levels)
}

/// Layer normalisation of rows.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f64> {
    let size = weight.len();
    let mut out = Vec::new();
    for x in x.chunks_exact(size) {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / size as f64;
        let squares = x.iter().map(|&x| (f64::from(x) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / size as f64 + f64::from(epsilon)).sqrt();
        for ((&x, &weight), &bias) in x.iter().zip(weight).zip(bias) {
            out.push((f64::from(x) - mean) / deviation * f64::from(weight) + f64::from(bias));
        }
    }
    out
}

/// Queries and keys, turned; shapes as in [`crate::self_attention`] and [`crate::Rotary`].
pub fn rotary(
    qkv: &[f32],
    texts: &[Range<usize>],
    num_heads: usize,
    head_size: usize,
    table: &[f32],
) -> Vec<f64> {
    let (hidden_size, half) = (num_heads * head_size, head_size / 2);
    let mut out: Vec<f64> = qkv.iter().map(|&x| f64::from(x)).collect();
    for text in texts {
        for (position, token) in text.clone().enumerate() {
            for column in (0..2 * hidden_size).filter(|column| column % head_size < half) {
                let angle = position * head_size + column % head_size;
                let (cos, sin) = (f64::from(table[angle]), f64::from(table[angle + half]));
                let at = token * 3 * hidden_size + column;
                let (a, b) = (out[at], out[at + half]);
                (out[at], out[at + half]) = (a * cos - b * sin, a * sin + b * cos);
            }
        }
    }
    out
}

/// Attention; shapes as in [`crate::attention`].
pub fn attention(
    qkv: &[f32],
    texts: &[Range<usize>],
    num_heads: usize,
    head_size: usize,
    Relative { bias, window, .. }: Relative,
) -> Vec<f64> {
    let hidden_size = num_heads * head_size;
    let at = |token: usize, part: usize, column: usize| {
        f64::from(qkv[token * 3 * hidden_size + part * hidden_size + column])
    };
    let mut out = vec![0.0; qkv.len() / 3];
    for text in texts {
        for query in text.clone() {
            for head in 0..num_heads {
                let columns = head * head_size..(head + 1) * head_size;
                let added = |key: usize| match bias {
                    None => 0.0,
                    Some(RelativeBias { values, reach }) => {
                        let distance = query as isize - key as isize;
                        let distance = distance.clamp(-(reach as isize), reach as isize);
                        let at = head * (2 * reach + 1) + (distance + reach as isize) as usize;
                        f64::from(values[at])
                    }
                };
                let product = |key: usize| -> f64 {
                    columns.clone().map(|c| at(query, 0, c) * at(key, 1, c)).sum()
                };
                let score = |key: usize| match window {
                    Some(reach) if query.abs_diff(key) > reach => f64::NEG_INFINITY,
                    _ => product(key) + added(key),
                };
                let scores: Vec<f64> = text.clone().map(score).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = scores.iter().map(|x| (x - largest).exp()).collect();
                let sum: f64 = powers.iter().sum();
                for (key, power) in text.clone().zip(&powers) {
                    for c in columns.clone() {
                        out[query * hidden_size + c] += power / sum * at(key, 2, c);
                    }
                }
            }
        }
    }
    out
}

/// An activation function, in `f64`.
pub fn activate(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    }
}

/// The error function: `2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))`, whose terms all have one
/// sign (Abramowitz & Stegun, 7.1.6).
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        // 1 - erf(6) = 2e-17
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// The product of each row with the query.
pub fn i8_dot(rows: &[i8], query: &[i16]) -> Vec<i32> {
    let product = |row: &[i8]| {
        let products = row.iter().zip(query).map(|(&x, &y)| i32::from(x) * i32::from(y));
        products.fold(0, i32::wrapping_add)
    };
    rows.chunks_exact(query.len()).map(product).collect()
}

/// Which rows' largest keys are above the threshold.
pub fn above(dots: &[i32], rows: RowFactors<'_>, reach: &Reach, threshold: f32) -> Vec<bool> {
    let key = |i: usize| reach.of(dots[i], rows.scale[i], rows.error[i], rows.size[i]);
    (0..dots.len()).map(|i| key(i) > threshold).collect()
}

/// For each row the sum of the query's values where the row is below the center.
pub fn bit_dot(rows: &[i8], scale: f32, center: &[f32], query: &[i8]) -> Vec<i32> {
    let dot = |row: &[i8]| {
        let below = |i: &usize| f32::from(row[*i]) * scale < center[*i];
        (0..row.len()).filter(below).map(|i| i32::from(query[i])).sum()
    };
    rows.chunks_exact(query.len()).map(dot).collect()
}
