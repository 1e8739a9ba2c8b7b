//! `f32` tiles.

use std::array::from_fn;

use super::NR;
use crate::selection::F32Tile;
use crate::simd::{F32x4, LANES};

/// `out[r][j] = panel[0][j] + Σ_k a[r][k] * panel[1 + k][j]`, in this order of `k`.
///
/// # Shapes
///
/// - `a`: `rows` (1 to 5) rows of `panel.len() - 1` values, `stride` apart
/// - `panel`: the initial values (a bias), then one row of 16 columns per `k`
/// - `out`: `rows` rows of 16 values, `out_stride` apart
#[inline(always)]
pub(crate) fn f32_tile(
    variant: F32Tile,
    rows: usize,
    a: &[f32],
    stride: usize,
    panel: &[[f32; NR]],
    out: &mut [f32],
    out_stride: usize,
) {
    match variant {
        F32Tile::N8 => {
            by_rows::<2>(rows, a, stride, panel, 0, out, out_stride);
            by_rows::<2>(rows, a, stride, panel, 8, out, out_stride);
        }
        F32Tile::N16 => by_rows::<4>(rows, a, stride, panel, 0, out, out_stride),
    }
}

#[inline(always)]
fn by_rows<const NV: usize>(
    rows: usize,
    a: &[f32],
    stride: usize,
    panel: &[[f32; NR]],
    column: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    match rows {
        1 => tile::<1, NV>(a, stride, panel, column, out, out_stride),
        2 => tile::<2, NV>(a, stride, panel, column, out, out_stride),
        3 => tile::<3, NV>(a, stride, panel, column, out, out_stride),
        4 => tile::<4, NV>(a, stride, panel, column, out, out_stride),
        _ => tile::<5, NV>(a, stride, panel, column, out, out_stride),
    }
}

/// The loop, for `M` rows and `NV` vectors of columns from `column` on.
///
/// In a build with relaxed SIMD fused where the machine can, which all tiles on it then do alike;
/// else with two roundings, the same bits on every machine.
#[inline(never)]
#[cfg_attr(
    all(target_arch = "wasm32", feature = "relaxed"),
    target_feature(enable = "relaxed-simd")
)]
fn tile<const M: usize, const NV: usize>(
    a: &[f32],
    stride: usize,
    panel: &[[f32; NR]],
    column: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let Some(([init], panel)) = panel.split_first_chunk::<1>() else { return };
    assert!(column + NV * LANES <= NR && a.len() >= (M - 1) * stride + panel.len());
    assert!(out.len() >= (M - 1) * out_stride + NR);
    let at = |row: &[f32; NR], v: usize| {
        // SAFETY: `column + NV * LANES <= NR` was asserted, so lanes `v` lie within the row.
        F32x4::load(unsafe { &*row.as_ptr().add(column + v * LANES).cast() })
    };
    let mut sums: [[F32x4; NV]; M] = [from_fn(|v| at(init, v)); M];
    for (k, row) in panel.iter().enumerate() {
        let b: [F32x4; NV] = from_fn(|v| at(row, v));
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `r < M` and `k < panel.len()`, and `a.len()` was asserted for the largest.
            let x = F32x4::splat(unsafe { *a.get_unchecked(r * stride + k) });
            for (sum, &b) in sums.iter_mut().zip(&b) {
                *sum = x.mul_add(b, *sum);
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        let (row, _) = out[r * out_stride + column..].as_chunks_mut();
        for (to, sum) in row.iter_mut().zip(sums) {
            sum.store(to);
        }
    }
}
