//! Linear layers with 7-bit weights.

use crate::linear_f32::activate;
use crate::quantize::{ActivationRow, WEIGHT_MAX, quantize_activations};
use crate::tile::q8::{GROUP, Group, q8_tiles};
use crate::tile::{MR, NR};
use crate::{Activation, RowQ8, Selection};

/// The widest input for which no sum can leave 32 bits: each of its two terms is at most
/// `in_features · 127 · 127`.
pub const MAX_IN_FEATURES: usize = i32::MAX as usize / (2 * 127 * 127);

/// The weights of a linear layer as the kernel reads them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackedQ8 {
    /// `[⌈out_features / 16⌉, ⌈in_features / group⌉, 16, group]`; the group is what this build's
    /// dot product adds up at once.
    pub panels: Vec<u8>,
    /// `[⌈out_features / 16⌉, 3, 16]`: of each output feature the scale, the bias and the zero point,
    /// an `i32` by its bits.
    pub params: Vec<f32>,
}

/// Lays the weights of a linear layer out as the kernel reads them.
///
/// # Shapes
///
/// - `weight`: `[out_features, in_features]`, from [`crate::quantize_weights`]
/// - `rows`, `bias`: `[out_features]`
///
/// # Panics
///
/// When the lengths do not fit, a weight is larger than [`WEIGHT_MAX`], or `in_features` is so
/// large that sums could overflow (66,000).
#[inline(never)]
pub fn pack_q8(weight: &[u8], rows: &[RowQ8], bias: &[f32], in_features: usize) -> PackedQ8 {
    let out_features = bias.len();
    assert_eq!(weight.len(), out_features * in_features, "weight and bias");
    assert_eq!(rows.len(), out_features, "rows and bias");
    assert!(in_features <= MAX_IN_FEATURES, "in_features");
    // Sixteen at a time, which a search that ends early would not be.
    let largest = weight.iter().fold(0, |largest, &w| w.max(largest));
    assert!(largest <= WEIGHT_MAX, "weights of 7 bits");
    let steps = in_features.div_ceil(GROUP);
    let panel_count = out_features.div_ceil(NR);
    let mut panels = vec![[[0; GROUP]; NR]; panel_count * steps];
    let mut params = vec![[[0.0; NR]; 3]; panel_count];
    for (j, (weights, row)) in weight.chunks_exact(in_features).zip(rows).enumerate() {
        let (p, column) = (j / NR, j % NR);
        let panel = &mut panels[p * steps..][..steps];
        let (groups, rest) = weights.as_chunks();
        for (step, group) in panel.iter_mut().zip(groups) {
            step[column] = *group;
        }
        if let Some(step) = panel.get_mut(groups.len()) {
            step[column][..rest.len()].copy_from_slice(rest);
        }
        let values = [row.scale, bias[j], f32::from_bits(row.zero_point.into())];
        for (param, value) in params[p].iter_mut().zip(values) {
            param[column] = value;
        }
    }
    let panels = panels.into_flattened().into_flattened();
    PackedQ8 { panels, params: params.into_flattened().into_flattened() }
}

/// Rows of activations, each rotated and quantised to 8 bits on its own.
pub(crate) struct RowsQ8 {
    /// `[⌈rows / 5⌉, ⌈in_features / group⌉]`
    groups: Vec<Group>,
    rows: Vec<ActivationRow>,
    in_features: usize,
}

impl RowsQ8 {
    /// The rows of `x`: `[rows, in_features]`.
    pub fn new(x: &[f32], in_features: usize) -> Self {
        let count = x.len() / in_features;
        let steps = in_features.div_ceil(GROUP);
        let mut groups = vec![[[0; GROUP]; MR]; count.div_ceil(MR) * steps];
        let mut rotated = vec![0.0; in_features];
        let rows = x.chunks_exact(in_features).enumerate().map(|(r, x)| {
            rotated.copy_from_slice(x);
            quantize_activations(&mut rotated, &mut groups[r / MR * steps..][..steps], r % MR)
        });
        Self { rows: rows.collect(), groups, in_features }
    }
}

/// `out = activation(x · weightᵀ + bias)`.
///
/// With `x ≈ s q` and `w ≈ t (u − y)`, `Σ x w ≈ s t (Σ q u − y Σ q)`: the bracket is exact in
/// integers.
///
/// # Shapes
///
/// - `panels`, `params`: from [`pack_q8`]
/// - `out`: `[x.rows, out_features]`, the rows `stride` apart
///
/// # Panics
///
/// When the lengths do not fit.
pub(crate) fn linear_q8(
    x: &RowsQ8,
    panels: &[u8],
    params: &[f32],
    out_features: usize,
    activation: Activation,
    out: &mut [f32],
    stride: usize,
) {
    let steps = x.in_features.div_ceil(GROUP);
    let (panels, _) = panels.as_chunks::<{ NR * GROUP }>();
    let (params, _) = params.as_chunks::<NR>();
    let (params, _) = params.as_chunks::<3>();
    assert_eq!(params.len(), out_features.div_ceil(NR), "params");
    assert_eq!(panels.len(), params.len() * steps, "panels");
    let variant = Selection::current().q8_tile;
    for (p, (panel, params)) in panels.chunks_exact(steps).zip(params).enumerate() {
        let columns = p * NR..out_features.min((p + 1) * NR);
        if columns.len() == NR {
            let out = &mut out[columns.start..];
            q8_tiles(variant, &x.rows, &x.groups, panel, params, out, stride);
        } else {
            let mut whole = vec![0.0; x.rows.len() * NR];
            q8_tiles(variant, &x.rows, &x.groups, panel, params, &mut whole, NR);
            for (row, out) in whole.chunks_exact(NR).zip(out.chunks_mut(stride)) {
                out[columns.clone()].copy_from_slice(&row[..columns.len()]);
            }
        }
        activate(activation, columns, out, stride);
    }
}
