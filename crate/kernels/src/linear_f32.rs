//! Linear layers with `f32` weights.

use crate::simd::{F32x4, LANES};
use crate::tile::f32::f32_tile;
use crate::tile::{MR, NR};
use crate::{Activation, Selection, math};

/// Rows that are finished before the next are begun: 128 rows of BERT-base's 3072 intermediates
/// are 1.5 MB and stay in the second-level cache while the weights pass by.
const ROWS_PER_BLOCK: usize = 128;

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
/// - `out`: `[rows, out_features]`
///
/// # Panics
///
/// When the lengths do not fit.
pub fn linear_f32(
    x: &[f32],
    panels: &[f32],
    in_features: usize,
    out_features: usize,
    activation: Activation,
    out: &mut [f32],
) {
    let (panels, _) = panels.as_chunks::<NR>();
    assert_eq!(panels.len(), out_features.div_ceil(NR) * (1 + in_features), "panels");
    assert_eq!(x.len() / in_features * out_features, out.len(), "x and out");
    let variant = Selection::current().f32_tile;
    let mut tile = [[0.0; NR]; MR];
    let blocks =
        x.chunks(ROWS_PER_BLOCK * in_features).zip(out.chunks_mut(ROWS_PER_BLOCK * out_features));
    for (x, out) in blocks {
        for (p, panel) in panels.chunks_exact(1 + in_features).enumerate() {
            let columns = p * NR..out_features.min((p + 1) * NR);
            let rows = x.chunks(MR * in_features).zip(out.chunks_mut(MR * out_features));
            for (x, out) in rows {
                let rows = x.len() / in_features;
                f32_tile(variant, rows, x, in_features, panel, &mut tile);
                for (row, out) in tile.iter_mut().zip(out.chunks_exact_mut(out_features)) {
                    store(row, activation, &mut out[columns.clone()]);
                }
            }
        }
    }
}

/// Writes a row of a tile.
#[inline(always)]
pub(crate) fn store(row: &mut [f32; NR], activation: Activation, out: &mut [f32]) {
    if activation != Activation::Identity {
        let (vectors, _) = row.as_chunks_mut::<LANES>();
        for x in vectors {
            math::activate(F32x4::load(x), activation).store(x);
        }
    }
    match out.as_mut_array::<NR>() {
        Some(out) => *out = *row,
        None => out.copy_from_slice(&row[..out.len()]),
    }
}
