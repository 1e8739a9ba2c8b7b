//! Linear layers with `f32` weights.

use std::ops::Range;

use crate::math::{Gated, Gelu};
use crate::simd::{F32x4, LANES};
use crate::tile::f32::f32_tile;
use crate::tile::{MR, NR, with_columns};
use crate::{Activation, Selection};

/// Lays the weights of a linear layer out as the kernel reads them: panels of 16 output features;
/// in each the bias, then for every input feature the 16 weights.
///
/// # Shapes
///
/// - `weight`: `[out_features, in_features]`
/// - `bias`: `[out_features]`
/// - returns `[⌈out_features / 16⌉, 1 + in_features, 16]`, filled up with zeros
///
/// # Panics
///
/// When the lengths do not fit.
#[inline(never)]
pub fn pack_f32(weight: &[f32], bias: &[f32], in_features: usize) -> Vec<f32> {
    let out_features = bias.len();
    assert_eq!(weight.len(), out_features * in_features, "weight and bias");
    let mut panels = vec![[0.0; NR]; out_features.div_ceil(NR) * (1 + in_features)];
    for (j, (row, &bias)) in weight.chunks_exact(in_features).zip(bias).enumerate() {
        let panel = &mut panels[j / NR * (1 + in_features)..][..1 + in_features];
        let values = std::iter::once(&bias).chain(row);
        for (step, &value) in panel.iter_mut().zip(values) {
            step[j % NR] = value;
        }
    }
    panels.into_flattened()
}

/// `out = activation(x · weightᵀ + bias)`.
///
/// # Shapes
///
/// - `x`: `[rows, in_features]`
/// - `panels`: from [`pack_f32`]
/// - `out`: `[rows, out_features]`, the rows `stride` apart
///
/// # Panics
///
/// When the lengths do not fit.
pub(crate) fn linear_f32(
    x: &[f32],
    panels: &[f32],
    in_features: usize,
    out_features: usize,
    activation: Activation,
    out: &mut [f32],
    stride: usize,
) {
    let (panels, _) = panels.as_chunks::<NR>();
    assert_eq!(panels.len(), out_features.div_ceil(NR) * (1 + in_features), "panels");
    let variant = Selection::current().f32_tile;
    for (p, panel) in panels.chunks_exact(1 + in_features).enumerate() {
        let columns = p * NR..out_features.min((p + 1) * NR);
        for (x, out) in x.chunks(MR * in_features).zip(out.chunks_mut(MR * stride)) {
            let rows = x.len() / in_features;
            with_columns(rows, columns.clone(), out, stride, |out, stride| {
                f32_tile(variant, rows, x, in_features, panel, out, stride);
            });
            activate(activation, columns.clone(), out, stride);
        }
    }
}

/// Applies the activation to some columns of rows, just after they were written.
#[inline(always)]
pub(crate) fn activate(
    activation: Activation,
    columns: Range<usize>,
    out: &mut [f32],
    stride: usize,
) {
    match activation {
        Activation::Identity => {}
        Activation::Gelu => gelu(columns, out, stride),
        // 2 √(2/π), and 0.044715 times that.
        Activation::GeluTanh => gated([1.595_769, 0.071_354_814], columns, out, stride),
        Activation::Silu => gated([1.0, 0.0], columns, out, stride),
        Activation::Relu => out
            .chunks_mut(stride)
            .flat_map(|row| &mut row[columns.clone()])
            // Not `f32::max`, which drops a NaN.
            .filter(|x| **x < 0.0)
            .for_each(|x| *x = 0.0),
        Activation::Tanh => out
            .chunks_mut(stride)
            .flat_map(|row| &mut row[columns.clone()])
            .for_each(|x| *x = x.tanh()),
    }
}

#[inline(never)]
#[cfg_attr(
    all(target_arch = "wasm32", feature = "relaxed"),
    target_feature(enable = "relaxed-simd")
)]
fn gelu(columns: Range<usize>, out: &mut [f32], stride: usize) {
    let gelu = Gelu::new();
    for row in out.chunks_mut(stride) {
        let (vectors, rest) = row[columns.clone()].as_chunks_mut::<LANES>();
        for x in vectors {
            gelu.of(F32x4::load(x)).store(x);
        }
        for x in rest {
            *x = gelu.of(F32x4::splat(*x)).to_array()[0];
        }
    }
}

#[inline(never)]
#[cfg_attr(
    all(target_arch = "wasm32", feature = "relaxed"),
    target_feature(enable = "relaxed-simd")
)]
fn gated([a, b]: [f32; 2], columns: Range<usize>, out: &mut [f32], stride: usize) {
    let gated = Gated::new(a, b);
    for row in out.chunks_mut(stride) {
        let (vectors, rest) = row[columns.clone()].as_chunks_mut::<LANES>();
        for x in vectors {
            gated.of(F32x4::load(x)).store(x);
        }
        for x in rest {
            *x = gated.of(F32x4::splat(*x)).to_array()[0];
        }
    }
}
