//! From `f32` to 8 bits and back: `x ≈ scale · (q − zero_point)`, a scale and a zero point per row.
//!
//! Every range includes 0, so 0 is exact.

use crate::rotate::{block, rotate};
use crate::simd::{F32x4, I32x4, LANES};
use crate::tile::q8::Activation8;

/// Largest quantised weight. Seven bits, because the relaxed dot product defines its second operand
/// for these only (WebAssembly relaxed-simd, `i16x8.relaxed_dot_i8x16_i7x16_s`).
pub const WEIGHT_MAX: u8 = 127;

/// Largest quantised value of an embedding table, which no dot product ever sees.
pub const TABLE_MAX: u8 = 255;

/// Smallest quantised activation.
pub const ACTIVATION_MIN: i32 = -128;

/// Largest quantised activation.
pub const ACTIVATION_MAX: i32 = 127;

/// How a row of unsigned values stands for real ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowQ8 {
    /// Distance between two neighbouring values.
    pub scale: f32,
    /// The value that stands for 0.
    pub zero_point: u8,
}

/// Appends a row as values of 0 to `max`.
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
pub fn dequantize_row(values: &[u8], row: RowQ8, out: &mut [f32]) {
    assert_eq!(values.len(), out.len(), "values and out");
    let zero_point = i32::from(row.zero_point);
    for (out, &value) in out.iter_mut().zip(values) {
        *out = row.scale * (i32::from(value) - zero_point) as f32;
    }
}

/// How a quantised row of activations stands for real values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ActivationRow {
    pub scale: f32,
    pub zero_point: i32,
    /// Sum of the quantised values.
    pub sum: i32,
}

/// Rotates a row of activations and quantises it to [`ACTIVATION_MIN`]..=[`ACTIVATION_MAX`]; `q` may
/// be longer, and its rest is zeroed. A row that is not finite gets the scale NaN, which all its
/// products then show.
#[inline(never)]
pub(crate) fn quantize_activations(row: &mut [f32], q: &mut [Activation8]) -> ActivationRow {
    rotate(row);
    let (vectors, rest) = row.as_chunks::<LANES>();
    let zero = F32x4::splat(0.0);
    let (mut smallest, mut largest, mut finite) = (zero, zero, zero);
    for x in vectors {
        let x = F32x4::load(x);
        smallest = smallest.min(x);
        largest = largest.max(x);
        finite = x.mul_add(zero, finite);
    }
    let (mut smallest, mut largest) = (smallest.smallest(), largest.largest());
    let mut finite = finite.sum();
    for &x in rest {
        smallest = smallest.min(x);
        largest = largest.max(x);
        finite += x * 0.0;
    }

    let range = largest - smallest;
    let levels = (ACTIVATION_MAX - ACTIVATION_MIN) as f32;
    // Anything that is not finite has made `finite` NaN. A range of denormals would make the
    // inverse infinite; such a row is 0 beside everything that it will be added to.
    let inverse = if range >= f32::MIN_POSITIVE * levels { levels / range } else { 0.0 };
    let scale = range / levels + finite;
    let zero_point = match inverse > 0.0 {
        true => ACTIVATION_MIN - (smallest * inverse).round_ties_even() as i32,
        false => 0,
    };

    let (inverses, zero_points) = (F32x4::splat(inverse), I32x4::splat(zero_point));
    let mut sums = I32x4::splat(0);
    let (head, tail) = q.split_at_mut(vectors.len() * LANES);
    let (head, _) = head.as_chunks_mut::<LANES>();
    for (q, x) in head.iter_mut().zip(vectors) {
        // The smallest value becomes ACTIVATION_MIN; the largest may round up beyond the other end.
        let rounded = F32x4::load(x).mul(inverses).round().add(zero_points);
        let rounded = rounded.min(I32x4::splat(ACTIVATION_MAX));
        sums = sums.add(rounded);
        *q = rounded.to_array().map(|x| x as Activation8);
    }
    let mut sum = sums.to_array().iter().sum();
    tail.fill(0);
    for (q, &x) in tail.iter_mut().zip(rest) {
        let rounded = (x * inverse).round_ties_even() as i32 + zero_point;
        let rounded = rounded.min(ACTIVATION_MAX);
        sum += rounded;
        *q = rounded as Activation8;
    }
    ActivationRow { scale, zero_point, sum }
}
