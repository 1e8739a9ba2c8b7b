//! Linear layers with 7-bit weights.

use std::array::from_fn;

use crate::linear_f32::store;
use crate::quantize::{ActivationRow, WEIGHT_MAX, quantize_activations};
use crate::simd::{F32x4, I32x4, LANES};
use crate::tile::q8::{GROUP, Step, q8_tile};
use crate::tile::{MR, NR};
use crate::{Activation, RowQ8, Selection};

/// Rows that are quantised and then multiplied together: 64 rows of BERT-base's 3072 intermediates
/// are 196 kB, which leaves half of a small second-level cache for a panel and the output.
const ROWS_PER_BLOCK: usize = 64;

/// The widest input for which no sum can leave 32 bits: each of its three terms is at most
/// `in_features · 128 · 127`.
const MAX_IN_FEATURES: usize = i32::MAX as usize / (3 * 128 * 127);

/// The weights of a linear layer as the kernel reads them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackedQ8 {
    /// `[⌈out_features / 16⌉, ⌈in_features / group⌉, 16, group]`; the group is what this build's
    /// dot product adds up at once.
    pub panels: Vec<u8>,
    /// `[⌈out_features / 16⌉, 4, 16]`: of each output feature the scale, the bias, the zero point
    /// and the correction `Σ weights − in_features · zero_point`. The last two are integers of
    /// less than 24 bits.
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
/// large that sums could overflow (44,000).
pub fn pack_q8(weight: &[u8], rows: &[RowQ8], bias: &[f32], in_features: usize) -> PackedQ8 {
    let out_features = bias.len();
    assert_eq!(weight.len(), out_features * in_features, "weight and bias");
    assert_eq!(rows.len(), out_features, "rows and bias");
    assert!(in_features <= MAX_IN_FEATURES, "in_features");
    assert!(weight.iter().all(|&w| w <= WEIGHT_MAX), "weights of 7 bits");
    let steps = in_features.div_ceil(GROUP);
    let panel_count = out_features.div_ceil(NR);
    let mut panels = vec![0; panel_count * steps * NR * GROUP];
    let mut params = vec![[[0.0; NR]; 4]; panel_count];
    for (j, (weights, row)) in weight.chunks_exact(in_features).zip(rows).enumerate() {
        let (p, column) = (j / NR, j % NR);
        for (step, group) in weights.chunks(GROUP).enumerate() {
            let at = ((p * steps + step) * NR + column) * GROUP;
            panels[at..at + group.len()].copy_from_slice(group);
        }
        let zero_point = i32::from(row.zero_point);
        let sum: i32 = weights.iter().map(|&w| i32::from(w)).sum();
        let correction = sum - in_features as i32 * zero_point;
        let values = [row.scale, bias[j], zero_point as f32, correction as f32];
        for (param, value) in params[p].iter_mut().zip(values) {
            param[column] = value;
        }
    }
    PackedQ8 { panels, params: params.into_flattened().into_flattened() }
}

/// `out = activation(x · weightᵀ + bias)`, with each row of `x` rotated and quantised to 8 bits on
/// its own.
///
/// With `x ≈ s (q − z)` and `w ≈ t (u − y)` over `K` input features,
/// `Σ x w ≈ s t (Σ q u − z (Σ u − K y) − y Σ q)`: the bracket is exact in integers.
///
/// # Shapes
///
/// - `x`: `[rows, in_features]`
/// - `panels`, `params`: from [`pack_q8`]
/// - `out`: `[rows, out_features]`
///
/// # Panics
///
/// When the lengths do not fit.
pub fn linear_q8(
    x: &[f32],
    panels: &[u8],
    params: &[f32],
    in_features: usize,
    out_features: usize,
    activation: Activation,
    out: &mut [f32],
) {
    let steps = in_features.div_ceil(GROUP);
    let (panels, _) = panels.as_chunks::<{ NR * GROUP }>();
    let (params, _) = params.as_chunks::<NR>();
    let (params, _) = params.as_chunks::<4>();
    assert_eq!(params.len(), out_features.div_ceil(NR), "params");
    assert_eq!(panels.len(), params.len() * steps, "panels");
    assert_eq!(x.len() / in_features * out_features, out.len(), "x and out");
    let stride = steps * GROUP;
    let block_rows = ROWS_PER_BLOCK.min(x.len() / in_features);
    let mut rotated = vec![0.0; in_features];
    let mut q = vec![0; block_rows * stride];
    let mut q_rows = vec![ActivationRow::default(); block_rows];
    let blocks =
        x.chunks(ROWS_PER_BLOCK * in_features).zip(out.chunks_mut(ROWS_PER_BLOCK * out_features));
    for (x, out) in blocks {
        let rows = x.len() / in_features;
        for ((x, q), row) in
            x.chunks_exact(in_features).zip(q.chunks_exact_mut(stride)).zip(&mut q_rows)
        {
            rotated.copy_from_slice(x);
            *row = quantize_activations(&mut rotated, q);
        }
        for (p, (panel, params)) in panels.chunks_exact(steps).zip(params).enumerate() {
            let columns = p * NR..out_features.min((p + 1) * NR);
            let params = PanelParams::new(params);
            for first in (0..rows).step_by(MR) {
                let count = MR.min(rows - first);
                let mut tile = [[0; NR]; MR];
                multiply(&q[first * stride..], stride, panel, count, &mut tile);
                for (r, sums) in tile[..count].iter().enumerate() {
                    let mut row = params.apply(sums, q_rows[first + r]);
                    let out = &mut out[(first + r) * out_features..][columns.clone()];
                    store(&mut row, activation, out);
                }
            }
        }
    }
}

#[inline(always)]
fn multiply(
    q: &[crate::tile::q8::Activation8],
    stride: usize,
    panel: &[Step],
    rows: usize,
    tile: &mut [[i32; NR]; MR],
) {
    q8_tile(Selection::current().q8_tile, rows, q, stride, panel, tile);
}

/// A panel's parameters in registers.
struct PanelParams {
    scale: [F32x4; NR / LANES],
    bias: [F32x4; NR / LANES],
    zero_point: [I32x4; NR / LANES],
    correction: [I32x4; NR / LANES],
}

impl PanelParams {
    #[inline(always)]
    fn new([scale, bias, zero_point, correction]: &[[f32; NR]; 4]) -> Self {
        let at = |row: &[f32; NR], v: usize| F32x4::load(&from_fn(|i| row[v * LANES + i]));
        Self {
            scale: from_fn(|v| at(scale, v)),
            bias: from_fn(|v| at(bias, v)),
            zero_point: from_fn(|v| at(zero_point, v).round()),
            correction: from_fn(|v| at(correction, v).round()),
        }
    }

    /// The real values that a row of sums stands for.
    #[inline(always)]
    fn apply(&self, sums: &[i32; NR], row: ActivationRow) -> [f32; NR] {
        let (sum, zero_point) = (I32x4::splat(row.sum), I32x4::splat(row.zero_point));
        let scale = F32x4::splat(row.scale);
        let mut out = [0.0; NR];
        let (vectors, _) = out.as_chunks_mut::<LANES>();
        for (v, out) in vectors.iter_mut().enumerate() {
            let exact = I32x4::load(&from_fn(|i| sums[v * LANES + i]))
                .sub(self.correction[v].mul(zero_point))
                .sub(self.zero_point[v].mul(sum));
            exact.to_f32().mul_add(scale.mul(self.scale[v]), self.bias[v]).store(out);
        }
        out
    }
}
