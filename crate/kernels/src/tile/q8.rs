//! 8-bit tiles: signed activations times 7-bit weights, summed in `i32` without any rounding.

use std::array::from_fn;

use super::{MR, NR};
use crate::quantize::ActivationRow;
use crate::selection::Q8Tile;
use crate::simd::{F32x4, I32x4, LANES};

pub(crate) use isa::{Activation8, GROUP, dot_saturates};

/// One step of a packed panel: `GROUP` consecutive `k` of 16 columns, a column's values side by side.
pub(crate) type Step = [u8; NR * GROUP];

/// One step of five rows of activations: of each row `GROUP` consecutive values. Side by side they
/// need one address instead of five (5 % faster).
pub(crate) type Group = [[Activation8; GROUP]; MR];

/// The scales, biases and zero points of a panel's 16 columns; the last are `i32` by their bits.
pub(crate) type Params = [[f32; NR]; 3];

/// `out[r][j] = scale_r · scale_j · Σ_k a[r][k] · (w[k][j] − zero_point_j) + bias_j`: all tiles that
/// read a panel, in one call.
///
/// # Shapes
///
/// - `a`: `[⌈rows / 5⌉, panel.len()]` [`Group`]s
/// - `panel`: the weights `w`, 0 to 127, in [`Step`]s
/// - `out`: as many rows of 16 values as `rows`, `out_stride` apart
#[inline(always)]
pub(crate) fn q8_tiles(
    variant: Q8Tile,
    rows: &[ActivationRow],
    a: &[Group],
    panel: &[Step],
    params: &Params,
    out: &mut [f32],
    out_stride: usize,
) {
    let (whole, rest) = rows.as_chunks::<MR>();
    if !whole.is_empty() {
        isa::tiles(variant, whole, a, panel, params, out, out_stride);
    }
    if rest.is_empty() {
        return;
    }
    let (a, out) = (&a[whole.len() * panel.len()..], &mut out[whole.len() * MR * out_stride..]);
    match rest.len() {
        1 => isa::tiles(variant, rest.as_chunks::<1>().0, a, panel, params, out, out_stride),
        2 => isa::tiles(variant, rest.as_chunks::<2>().0, a, panel, params, out, out_stride),
        3 => isa::tiles(variant, rest.as_chunks::<3>().0, a, panel, params, out, out_stride),
        _ => isa::tiles(variant, rest.as_chunks::<4>().0, a, panel, params, out, out_stride),
    }
}

/// Writes what a row of exact sums stands for.
#[inline(always)]
fn finish<const NV: usize>(
    sums: [I32x4; NV],
    row: ActivationRow,
    params: &Params,
    column: usize,
    out: &mut [f32],
) {
    let [scale, bias, zero_point] = params;
    let (scale, _) = scale[column..].as_chunks();
    let (bias, _) = bias[column..].as_chunks();
    let (zero_point, _) = zero_point[column..].as_chunks();
    let (out, _) = out[column..].as_chunks_mut();
    let (row_scale, row_sum) = (F32x4::splat(row.scale), I32x4::splat(row.sum));
    for (v, sum) in sums.into_iter().enumerate() {
        let exact = sum.sub(F32x4::load(&zero_point[v]).to_bits().mul(row_sum));
        let scale = F32x4::load(&scale[v]).mul(row_scale);
        exact.to_f32().mul_add(scale, F32x4::load(&bias[v])).store(&mut out[v]);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod isa {
    use super::*;

    pub type Activation8 = i8;
    pub const GROUP: usize = 4;

    pub fn dot_saturates() -> bool {
        false
    }

    pub fn tiles<const M: usize>(
        _: Q8Tile,
        rows: &[[ActivationRow; M]],
        a: &[Group],
        panel: &[Step],
        params: &Params,
        out: &mut [f32],
        out_stride: usize,
    ) {
        let groups = a.chunks_exact(panel.len()).flat_map(|a| (0..M).map(move |r| (a, r)));
        let out = out.chunks_mut(out_stride);
        for ((row, (a, r)), out) in rows.as_flattened().iter().zip(groups).zip(out) {
            let mut sums = [0; NR];
            for (a, step) in a.iter().zip(panel) {
                let a = a[r].map(i32::from);
                let (columns, _) = step.as_chunks::<GROUP>();
                for (sum, w) in sums.iter_mut().zip(columns) {
                    let w = w.map(i32::from);
                    *sum += a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
                }
            }
            let (sums, _) = sums.as_chunks();
            let sums: [I32x4; NR / LANES] = from_fn(|v| I32x4::load(&sums[v]));
            finish(sums, *row, params, 0, &mut out[..NR]);
        }
    }
}

#[cfg(target_arch = "wasm32")]
#[expect(
    clippy::too_many_arguments,
    reason = "a tile's, and how its instructions multiply and load"
)]
#[inline(always)]
fn generic<const M: usize, const NV: usize>(
    dot: impl Fn(v128, v128, v128) -> v128,
    weights: impl Fn(*const u8) -> v128,
    rows: &[[ActivationRow; M]],
    a: &[Group],
    panel: &[Step],
    params: &Params,
    column: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    assert!(column + NV * LANES <= NR);
    for ((g, rows), a) in rows.iter().enumerate().zip(a.chunks_exact(panel.len())) {
        let mut sums = [[i32x4_splat(0); NV]; M];
        for (step, a) in panel.iter().zip(a) {
            // SAFETY: the columns `column .. column + NV * LANES` lie within the step, as asserted.
            let b: [v128; NV] =
                from_fn(|v| weights(unsafe { step.as_ptr().add((column + v * LANES) * GROUP) }));
            for (sums, a) in sums.iter_mut().zip(a) {
                // SAFETY: a row's part of a group is 4 bytes (4 x i8 or 2 x i16).
                let x = unsafe { v128_load32_splat(a.as_ptr().cast()) };
                for (sum, &b) in sums.iter_mut().zip(&b) {
                    *sum = dot(x, b, *sum);
                }
            }
        }
        let out = &mut out[g * MR * out_stride..];
        for (r, (sums, row)) in sums.into_iter().zip(rows).enumerate() {
            let out = &mut out[r * out_stride..][..NR];
            finish(sums.map(I32x4), *row, params, column, out);
        }
    }
}

#[cfg(target_arch = "wasm32")]
use core::arch::wasm32::*;

#[cfg(all(target_arch = "wasm32", not(feature = "relaxed")))]
mod isa {
    use super::*;

    /// Widened to 16 bits once per row instead of once per tile.
    pub type Activation8 = i16;
    /// What `i32x4.dot_i16x8_s` adds up per lane.
    pub const GROUP: usize = 2;

    pub fn dot_saturates() -> bool {
        false
    }

    #[inline(always)]
    pub fn tiles<const M: usize>(
        variant: Q8Tile,
        rows: &[[ActivationRow; M]],
        a: &[Group],
        panel: &[Step],
        params: &Params,
        out: &mut [f32],
        out_stride: usize,
    ) {
        match variant {
            Q8Tile::DotN8 => {
                dot16::<M, 2>(rows, a, panel, params, 0, out, out_stride);
                dot16::<M, 2>(rows, a, panel, params, 8, out, out_stride);
            }
            _ => dot16::<M, 4>(rows, a, panel, params, 0, out, out_stride),
        }
    }

    #[inline(never)]
    fn dot16<const M: usize, const NV: usize>(
        rows: &[[ActivationRow; M]],
        a: &[Group],
        panel: &[Step],
        params: &Params,
        column: usize,
        out: &mut [f32],
        out_stride: usize,
    ) {
        generic::<M, NV>(
            |x, w, sum| i32x4_add(sum, i32x4_dot_i16x8(x, w)),
            // SAFETY: `generic` passes the address of 8 readable bytes.
            |w| unsafe { i16x8_load_extend_u8x8(w) },
            rows,
            a,
            panel,
            params,
            column,
            out,
            out_stride,
        );
    }
}

#[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
mod isa {
    use super::*;

    pub type Activation8 = i8;
    /// What `i32x4.relaxed_dot_i8x16_i7x16_add_s` adds up per lane.
    pub const GROUP: usize = 4;

    /// Whether the engine makes `pmaddubsw` of the dot product, for want of an instruction that does all
    /// of it. With 8 bits in its second operand it tells: 4 · 127 · 255, 4 · 127 · -1, or pairs that
    /// are cut to 16 bits (as XNNPACK's `hardware-config.c` does it).
    #[target_feature(enable = "relaxed-simd")]
    pub fn dot_saturates() -> bool {
        // Not folded at compile time, which would answer for another machine.
        let [a, b] = std::hint::black_box([i8x16_splat(127), u8x16_splat(255)]);
        let sum = i32x4_relaxed_dot_i8x16_i7x16_add(a, b, i32x4_splat(0));
        i32x4_extract_lane::<0>(sum) == 2 * i32::from(i16::MAX)
    }

    #[inline(always)]
    pub fn tiles<const M: usize>(
        variant: Q8Tile,
        rows: &[[ActivationRow; M]],
        a: &[Group],
        panel: &[Step],
        params: &Params,
        out: &mut [f32],
        out_stride: usize,
    ) {
        match variant {
            Q8Tile::DotN8 => {
                dot8::<M, 2>(rows, a, panel, params, 0, out, out_stride);
                dot8::<M, 2>(rows, a, panel, params, 8, out, out_stride);
            }
            Q8Tile::DotN16 => dot8::<M, 4>(rows, a, panel, params, 0, out, out_stride),
            Q8Tile::PairsN8 => {
                pairs::<M, 2>(rows, a, panel, params, 0, out, out_stride);
                pairs::<M, 2>(rows, a, panel, params, 8, out, out_stride);
            }
            Q8Tile::PairsN16 => pairs::<M, 4>(rows, a, panel, params, 0, out, out_stride),
        }
    }

    /// One `vpdpbusd` or `sdot` where the machine has it and V8 uses it.
    #[inline(never)]
    #[target_feature(enable = "relaxed-simd")]
    fn dot8<const M: usize, const NV: usize>(
        rows: &[[ActivationRow; M]],
        a: &[Group],
        panel: &[Step],
        params: &Params,
        column: usize,
        out: &mut [f32],
        out_stride: usize,
    ) {
        generic::<M, NV>(
            |x, w, sum| i32x4_relaxed_dot_i8x16_i7x16_add(x, w, sum),
            // SAFETY: `generic` passes the address of 16 readable bytes.
            |w| unsafe { v128_load(w.cast()) },
            rows,
            a,
            panel,
            params,
            column,
            out,
            out_stride,
        );
    }

    /// Two steps through 16 bits for machines without such an instruction, where V8 would make
    /// five of the one above. Two products of -128..=127 with 0..=127 add up to at most
    /// 2 · 128 · 127 = 32,512 and so never overflow 16 bits.
    #[inline(never)]
    #[target_feature(enable = "relaxed-simd")]
    fn pairs<const M: usize, const NV: usize>(
        rows: &[[ActivationRow; M]],
        a: &[Group],
        panel: &[Step],
        params: &Params,
        column: usize,
        out: &mut [f32],
        out_stride: usize,
    ) {
        let ones = i16x8_splat(1);
        generic::<M, NV>(
            |x, w, sum| i32x4_add(sum, i32x4_dot_i16x8(i16x8_relaxed_dot_i8x16_i7x16(x, w), ones)),
            // SAFETY: `generic` passes the address of 16 readable bytes.
            |w| unsafe { v128_load(w.cast()) },
            rows,
            a,
            panel,
            params,
            column,
            out,
            out_stride,
        );
    }
}
