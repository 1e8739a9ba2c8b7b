//! `f32` tiles.

use std::array::from_fn;

use super::{MR, NR};
use crate::selection::F32Tile;
use crate::simd::{F32x4, LANES};

/// `tile[r][j] = panel[0][j] + Σ_k a[r * stride + k] * panel[1 + k][j]`, in this order of `k`.
///
/// # Shapes
///
/// - `a`: `rows` (1 to 4) rows of `panel.len() - 1` values, `stride` apart
/// - `panel`: the initial values (a bias), then one row of 16 columns per `k`
/// - `tile`: the first `rows` rows are written
#[inline(always)]
pub(crate) fn f32_tile(
    variant: F32Tile,
    rows: usize,
    a: &[f32],
    stride: usize,
    panel: &[[f32; NR]],
    tile: &mut [[f32; NR]; MR],
) {
    match variant {
        F32Tile::N8 => {
            by_rows::<2>(rows, a, stride, panel, 0, tile);
            by_rows::<2>(rows, a, stride, panel, 8, tile);
        }
        F32Tile::N16 => by_rows::<4>(rows, a, stride, panel, 0, tile),
    }
}

#[inline(always)]
fn by_rows<const NV: usize>(
    rows: usize,
    a: &[f32],
    stride: usize,
    panel: &[[f32; NR]],
    column: usize,
    tile: &mut [[f32; NR]; MR],
) {
    match rows {
        1 => isa::tile::<1, NV>(a, stride, panel, column, tile),
        2 => isa::tile::<2, NV>(a, stride, panel, column, tile),
        3 => isa::tile::<3, NV>(a, stride, panel, column, tile),
        _ => isa::tile::<4, NV>(a, stride, panel, column, tile),
    }
}

/// The loop, for `M` rows and `NV` vectors of columns from `column` on.
#[inline(always)]
fn generic<const M: usize, const NV: usize>(
    madd: impl Fn(F32x4, F32x4, F32x4) -> F32x4,
    a: &[f32],
    stride: usize,
    panel: &[[f32; NR]],
    column: usize,
    tile: &mut [[f32; NR]; MR],
) {
    let Some(([init], panel)) = panel.split_first_chunk::<1>() else { return };
    assert!(column + NV * LANES <= NR && a.len() >= (M - 1) * stride + panel.len());
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
                *sum = madd(x, b, *sum);
            }
        }
    }
    for (row, sums) in tile.iter_mut().zip(sums) {
        let (row, _) = row[column..].as_chunks_mut();
        for (to, sum) in row.iter_mut().zip(sums) {
            sum.store(to);
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
mod isa {
    use super::*;

    /// Multiplies and adds with two roundings: the same bits on every machine.
    #[inline(never)]
    pub fn tile<const M: usize, const NV: usize>(
        a: &[f32],
        stride: usize,
        panel: &[[f32; NR]],
        column: usize,
        tile: &mut [[f32; NR]; MR],
    ) {
        generic::<M, NV>(|x, b, sum| x.mul_add(b, sum), a, stride, panel, column, tile);
    }
}

#[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
mod isa {
    use core::arch::wasm32::f32x4_relaxed_madd;

    use super::*;

    /// Fused where the machine can, which all tiles on it then do alike.
    #[inline(never)]
    #[target_feature(enable = "relaxed-simd")]
    pub fn tile<const M: usize, const NV: usize>(
        a: &[f32],
        stride: usize,
        panel: &[[f32; NR]],
        column: usize,
        tile: &mut [[f32; NR]; MR],
    ) {
        generic::<M, NV>(
            |x, b, sum| F32x4(f32x4_relaxed_madd(x.0, b.0, sum.0)),
            a,
            stride,
            panel,
            column,
            tile,
        );
    }
}
