//! 8-bit tiles: signed activations times 7-bit weights, summed in `i32` without any rounding.

use super::{MR, NR};
use crate::selection::Q8Tile;

pub(crate) use isa::{Activation8, GROUP};

/// One step of a packed panel: `GROUP` consecutive `k` of 16 columns, a column's values side by side.
pub(crate) type Step = [u8; NR * GROUP];

/// `tile[r][j] = Σ_k a[r * stride + k] * w[k][j]`.
///
/// # Shapes
///
/// - `a`: `rows` (1 to 4) rows of `panel.len() * GROUP` values, `stride` apart
/// - `panel`: the weights `w`, 0 to 127, in [`Step`]s
/// - `tile`: the first `rows` rows are written
#[inline(always)]
pub(crate) fn q8_tile(
    variant: Q8Tile,
    rows: usize,
    a: &[Activation8],
    stride: usize,
    panel: &[Step],
    tile: &mut [[i32; NR]; MR],
) {
    match rows {
        1 => isa::tile::<1>(variant, a, stride, panel, tile),
        2 => isa::tile::<2>(variant, a, stride, panel, tile),
        3 => isa::tile::<3>(variant, a, stride, panel, tile),
        _ => isa::tile::<4>(variant, a, stride, panel, tile),
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod isa {
    use super::*;

    pub type Activation8 = i8;
    pub const GROUP: usize = 4;

    pub fn tile<const M: usize>(
        _: Q8Tile,
        a: &[Activation8],
        stride: usize,
        panel: &[Step],
        tile: &mut [[i32; NR]; MR],
    ) {
        for (r, sums) in tile[..M].iter_mut().enumerate() {
            *sums = [0; NR];
            let (a, _) = a[r * stride..][..panel.len() * GROUP].as_chunks::<GROUP>();
            for (a, step) in a.iter().zip(panel) {
                let a = a.map(i32::from);
                let (columns, _) = step.as_chunks::<GROUP>();
                for (sum, w) in sums.iter_mut().zip(columns) {
                    let w = w.map(i32::from);
                    *sum += a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
                }
            }
        }
    }
}

#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn generic<const M: usize, const NV: usize>(
    dot: impl Fn(v128, v128, v128) -> v128,
    weights: impl Fn(*const u8) -> v128,
    a: &[Activation8],
    stride: usize,
    panel: &[Step],
    column: usize,
    tile: &mut [[i32; NR]; MR],
) {
    assert!(column + NV * LANES <= NR && a.len() >= (M - 1) * stride + panel.len() * GROUP);
    let mut sums = [[i32x4_splat(0); NV]; M];
    for (k, step) in panel.iter().enumerate() {
        // SAFETY: the columns `column .. column + NV * LANES` lie within the step, as asserted.
        let b: [v128; NV] =
            from_fn(|v| weights(unsafe { step.as_ptr().add((column + v * LANES) * GROUP) }));
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `r < M` and `k < panel.len()`, and `a.len()` was asserted for the largest; a
            // group of activations is 4 bytes (4 x i8 or 2 x i16), and wasm needs no alignment.
            let x = unsafe { v128_load32_splat(a.as_ptr().add(r * stride + k * GROUP).cast()) };
            for (sum, &b) in sums.iter_mut().zip(&b) {
                *sum = dot(x, b, *sum);
            }
        }
    }
    for (row, sums) in tile.iter_mut().zip(sums) {
        let (row, _) = row[column..].as_chunks_mut::<LANES>();
        for (to, sum) in row.iter_mut().zip(sums) {
            // SAFETY: `to` is 16 writable bytes.
            unsafe { v128_store(to.as_mut_ptr().cast(), sum) }
        }
    }
}

#[cfg(target_arch = "wasm32")]
use {crate::simd::LANES, core::arch::wasm32::*, std::array::from_fn};

#[cfg(all(target_arch = "wasm32", not(feature = "relaxed")))]
mod isa {
    use super::*;

    /// Widened to 16 bits once per row instead of once per tile.
    pub type Activation8 = i16;
    /// What `i32x4.dot_i16x8_s` adds up per lane.
    pub const GROUP: usize = 2;

    #[inline(always)]
    pub fn tile<const M: usize>(
        variant: Q8Tile,
        a: &[Activation8],
        stride: usize,
        panel: &[Step],
        tile: &mut [[i32; NR]; MR],
    ) {
        match variant {
            Q8Tile::DotN8 => {
                dot16::<M, 2>(a, stride, panel, 0, tile);
                dot16::<M, 2>(a, stride, panel, 8, tile);
            }
            _ => dot16::<M, 4>(a, stride, panel, 0, tile),
        }
    }

    #[inline(never)]
    fn dot16<const M: usize, const NV: usize>(
        a: &[Activation8],
        stride: usize,
        panel: &[Step],
        column: usize,
        tile: &mut [[i32; NR]; MR],
    ) {
        generic::<M, NV>(
            |x, w, sum| i32x4_add(sum, i32x4_dot_i16x8(x, w)),
            // SAFETY: `generic` passes the address of 8 readable bytes.
            |w| unsafe { i16x8_load_extend_u8x8(w) },
            a,
            stride,
            panel,
            column,
            tile,
        );
    }
}

#[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
mod isa {
    use super::*;

    pub type Activation8 = i8;
    /// What `i32x4.relaxed_dot_i8x16_i7x16_add_s` adds up per lane.
    pub const GROUP: usize = 4;

    #[inline(always)]
    pub fn tile<const M: usize>(
        variant: Q8Tile,
        a: &[Activation8],
        stride: usize,
        panel: &[Step],
        tile: &mut [[i32; NR]; MR],
    ) {
        match variant {
            Q8Tile::DotN8 => {
                dot8::<M, 2>(a, stride, panel, 0, tile);
                dot8::<M, 2>(a, stride, panel, 8, tile);
            }
            Q8Tile::DotN16 => dot8::<M, 4>(a, stride, panel, 0, tile),
            Q8Tile::PairsN8 => {
                pairs::<M, 2>(a, stride, panel, 0, tile);
                pairs::<M, 2>(a, stride, panel, 8, tile);
            }
            Q8Tile::PairsN16 => pairs::<M, 4>(a, stride, panel, 0, tile),
        }
    }

    /// One `vpdpbusd` or `sdot` where the machine has it and V8 uses it.
    #[inline(never)]
    #[target_feature(enable = "relaxed-simd")]
    fn dot8<const M: usize, const NV: usize>(
        a: &[Activation8],
        stride: usize,
        panel: &[Step],
        column: usize,
        tile: &mut [[i32; NR]; MR],
    ) {
        generic::<M, NV>(
            |x, w, sum| i32x4_relaxed_dot_i8x16_i7x16_add(x, w, sum),
            // SAFETY: `generic` passes the address of 16 readable bytes.
            |w| unsafe { v128_load(w.cast()) },
            a,
            stride,
            panel,
            column,
            tile,
        );
    }

    /// Two steps through 16 bits for machines without such an instruction, where V8 would make
    /// five of the one above. Two products of -128..=127 with 0..=127 add up to at most
    /// 2 · 128 · 127 = 32,512 and so never overflow 16 bits.
    #[inline(never)]
    #[target_feature(enable = "relaxed-simd")]
    fn pairs<const M: usize, const NV: usize>(
        a: &[Activation8],
        stride: usize,
        panel: &[Step],
        column: usize,
        tile: &mut [[i32; NR]; MR],
    ) {
        let ones = i16x8_splat(1);
        generic::<M, NV>(
            |x, w, sum| i32x4_add(sum, i32x4_dot_i16x8(i16x8_relaxed_dot_i8x16_i7x16(x, w), ones)),
            // SAFETY: `generic` passes the address of 16 readable bytes.
            |w| unsafe { v128_load(w.cast()) },
            a,
            stride,
            panel,
            column,
            tile,
        );
    }
}
