//! From `f32` to 8 bits and back: `x ≈ scale · (q − zero_point)`, a scale and a zero point per row.
//!
//! Every range includes 0, so 0 is exact. Activations do without a zero point: after the rotation
//! they lie around 0, and MiniLM's vectors are as good (mean cosine 0.99828 either way).

use crate::rotate::{block, rotate};
use crate::simd::{F32x4, I32x4, LANES};
use crate::tile::q8::{Activation8, GROUP, Group};

/// Largest quantised weight. Seven bits, because the relaxed dot product defines its second operand
/// for these only (WebAssembly relaxed-simd, `i16x8.relaxed_dot_i8x16_i7x16_s`).
pub const WEIGHT_MAX: u8 = 127;

/// Largest quantised value of an embedding table, which no dot product ever sees.
pub const TABLE_MAX: u8 = 255;

/// Largest quantised activation; the smallest is its negative.
pub const ACTIVATION_MAX: i32 = 127;

/// How a row of unsigned values stands for real ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowQ8 {
    /// Distance between two neighbouring values.
    pub scale: f32,
    /// The value that stands for 0.
    pub zero_point: u8,
}

/// Appends a row as values of 0 to `max`. Where its values lie too far apart for `f32`, the scale is not finite.
#[inline(never)]
pub fn quantize_row(row: &[f32], max: u8, values: &mut Vec<u8>) -> RowQ8 {
    let (smallest, largest) = row
        .iter()
        .fold((0.0_f32, 0.0_f32), |(smallest, largest), &x| (smallest.min(x), largest.max(x)));
    let scale = (largest - smallest) / f32::from(max);
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let zero_point = (-smallest * inverse).round_ties_even();
    let quantize = |&x: &f32| (x * inverse).round_ties_even() + zero_point;
    // `as` saturates at 0; the largest value may round up beyond `max`.
    values.extend(row.iter().map(|x| (quantize(x) as u8).min(max)));
    RowQ8 { scale, zero_point: zero_point as u8 }
}

/// Appends a row of the weights of a linear layer as [`crate::pack_q8`] takes it: rotated, then as
/// values of 0 to [`WEIGHT_MAX`].
#[inline(never)]
pub fn quantize_weights(row: &[f32], values: &mut Vec<u8>) -> RowQ8 {
    let mut rotated = row.to_vec();
    rotate(&mut rotated);
    // Activations are rotated, too; together that is the product times the block, a power of two.
    let factor = 1.0 / block(row.len()) as f32;
    rotated.iter_mut().for_each(|x| *x *= factor);
    quantize_row(&rotated, WEIGHT_MAX, values)
}

/// The weights that such a row stands for.
pub fn dequantize_weights(values: &[u8], row: RowQ8, out: &mut [f32]) {
    dequantize_row(values, row, out);
    rotate(out);
}

/// The values that a row stands for.
///
/// # Panics
///
/// When the lengths differ.
#[inline(never)]
pub fn dequantize_row(values: &[u8], row: RowQ8, out: &mut [f32]) {
    assert_eq!(values.len(), out.len(), "values and out");
    let zero_point = i32::from(row.zero_point);
    for (out, &value) in out.iter_mut().zip(values) {
        *out = row.scale * (i32::from(value) - zero_point) as f32;
    }
}

/// How a quantised row of activations stands for real values: `scale · q`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ActivationRow {
    pub scale: f32,
    /// Sum of the quantised values.
    pub sum: i32,
}

/// Rotates a row of activations and quantises it to -[`ACTIVATION_MAX`]..=[`ACTIVATION_MAX`], as row
/// `r` of `q`, which may be longer. A row that is not finite gets the scale NaN, which all its
/// products then show.
#[inline(never)]
pub(crate) fn quantize_activations(row: &mut [f32], q: &mut [Group], r: usize) -> ActivationRow {
    rotate(row);
    let (vectors, rest) = row.as_chunks::<LANES>();
    // Compared as integers, what is not finite is the largest.
    let largest = vectors
        .iter()
        .fold(I32x4::splat(0), |largest, x| largest.max(F32x4::load(x).abs_bits()))
        .largest();
    let largest = rest.iter().fold(largest, |largest, x| largest.max(x.abs().to_bits() as i32));
    let largest = f32::from_bits(largest as u32);
    if !largest.is_finite() {
        q.iter_mut().for_each(|group| group[r] = [0; GROUP]);
        return ActivationRow { scale: f32::NAN, sum: 0 };
    }
    // The inverse of a smaller one would not be finite; beside everything that such a row will be
    // added to it is 0.
    if largest < f32::MIN_POSITIVE * ACTIVATION_MAX as f32 {
        q.iter_mut().for_each(|group| group[r] = [0; GROUP]);
        return ActivationRow::default();
    }

    let inverse = ACTIVATION_MAX as f32 / largest;
    let inverses = F32x4::splat(inverse);
    let mut sums = I32x4::splat(0);
    let (blocks, rest) = row.as_chunks::<16>();
    let (q_blocks, q_rest) = q.split_at_mut(blocks.len() * 16 / GROUP);
    for (x, q) in blocks.iter().zip(q_blocks.as_chunks_mut::<{ 16 / GROUP }>().0) {
        let (x, _) = x.as_chunks::<LANES>();
        let rounded: [I32x4; 4] = std::array::from_fn(|i| F32x4::load(&x[i]).mul(inverses).round());
        sums = rounded.iter().fold(sums, |sums, &x| sums.add(x));
        let mut values = [0; 16];
        store(rounded, &mut values);
        let (values, _) = values.as_chunks();
        for (group, values) in q.iter_mut().zip(values) {
            group[r] = *values;
        }
    }
    let mut sum = sums.sum();
    for (x, group) in rest.chunks(GROUP).zip(q_rest) {
        group[r] = [0; GROUP];
        for (q, &x) in group[r].iter_mut().zip(x) {
            let rounded = (x * inverse).round_ties_even();
            sum += rounded as i32;
            *q = rounded as Activation8;
        }
    }
    ActivationRow { scale: largest / ACTIVATION_MAX as f32, sum }
}

#[inline(always)]
fn store(values: [I32x4; 4], q: &mut [Activation8; 16]) {
    #[cfg(all(target_arch = "wasm32", not(feature = "relaxed")))]
    I32x4::store_i16(values, q);
    #[cfg(not(all(target_arch = "wasm32", not(feature = "relaxed"))))]
    I32x4::store_i8(values, q);
}
