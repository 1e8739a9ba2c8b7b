//! The innermost loops: a tile of up to 5 rows by 16 columns of a matrix product.
//!
//! Each function is a call of its own, never inlined into the loop around it: V8 replaces a
//! function's first, slow code only when it is entered anew, and a product that were one long call
//! would stay slow to its end (7.7 ms instead of 1.0 for 120 x 384 x 384).

pub(crate) mod f32;
pub(crate) mod q8;

use std::ops::Range;

/// Calls `tile(out, stride)` for an output of `rows` rows, `stride` apart, of which it writes 16
/// columns; where the output has fewer (`columns`), by way of a tile of its own.
#[inline(always)]
pub(crate) fn with_columns(
    rows: usize,
    columns: Range<usize>,
    out: &mut [f32],
    stride: usize,
    tile: impl Fn(&mut [f32], usize),
) {
    if columns.len() == NR {
        return tile(&mut out[columns.start..], stride);
    }
    let mut whole = [0.0; MR * NR];
    tile(&mut whole, NR);
    for (row, out) in whole.chunks_exact(NR).zip(out.chunks_mut(stride)).take(rows) {
        out[columns.clone()].copy_from_slice(&row[..columns.len()]);
    }
}

/// Rows of a tile. With 8 columns it takes 10 accumulators, 2 operands, 1 broadcast value and 1 or 2
/// temporary ones of the 15 registers that V8 has on x86-64. With 6 rows none is left for temporary ones:
/// `simd128` loses 15 to 40 %. 4 rows have more loads for each product, which costs 3 to 7 % in `f32` and in
/// `simd128`'s 8 bits, and 8 sums at a time are not enough for an instruction that takes 5 cycles and of which
/// two begin in each (`vpdpbusd`).
///
/// This holds for instructions in the order in which they are written here. LLVM's own order has all rows'
/// values in registers at once, and 5 rows then take twice the time: hence `-pre-RA-sched=source` in
/// `.cargo/config.toml`.
pub(crate) const MR: usize = 5;

/// Columns of a tile and of a packed panel: one 64-byte cache line of `f32`, and of 8-bit weights
/// four at a time.
pub(crate) const NR: usize = 16;
