//! The rotation before quantisation.
//!
//! A few of BERT's activations are far larger than the rest and would alone set a row's scale; the
//! same holds for weights. A Hadamard matrix mixes every value with its neighbours, so that none
//! stands out, and because it is orthogonal the product of rotated activations and rotated weights
//! is the product itself (Ashkboos et al., QuaRot, <https://arxiv.org/abs/2404.00456>). Of MiniLM's
//! vectors over the fixture texts, with 7-bit weights:
//!
//! | block | mean cosine to fp32 | worst |
//! |---|---|---|
//! | none | 0.99591 | 0.98918 |
//! | 8 | 0.99814 | 0.99610 |
//! | 32 | 0.99829 | 0.99587 |
//! | 128 | 0.99827 | 0.99643 |

use crate::simd::{F32x4, LANES};

/// Largest number of values that are mixed with each other. What is left beyond 32 is the rounding
/// of the weights; a token of 384 values takes about 300 cycles.
const MAX_BLOCK: usize = 32;

/// How many values of a row of this length are mixed with each other: a power of two, for which
/// blocks of values 4 apart fill the row.
#[inline(always)]
pub fn block(length: usize) -> usize {
    if !length.is_multiple_of(LANES) || length == 0 {
        return 1;
    }
    let vectors = length / LANES;
    (1 << vectors.trailing_zeros()).min(MAX_BLOCK)
}

/// Multiplies a row by a block-diagonal Hadamard matrix that is not normalised: twice gives the row
/// times the [`block`]. A block's values are 4 apart, so that all arithmetic is between vectors.
#[inline(always)]
pub(crate) fn rotate(row: &mut [f32]) {
    let block = block(row.len());
    let (vectors, _) = row.as_chunks_mut::<LANES>();
    for vectors in vectors.chunks_exact_mut(block) {
        match block {
            1 => {}
            2 => butterflies::<2>(vectors, 1),
            4 => butterflies::<4>(vectors, 1),
            8 => butterflies::<8>(vectors, 1),
            _ => {
                for vectors in vectors.chunks_exact_mut(8) {
                    butterflies::<8>(vectors, 1);
                }
                for first in 0..8 {
                    match block {
                        16 => butterflies::<2>(&mut vectors[first..], 8),
                        _ => butterflies::<4>(&mut vectors[first..], 8),
                    }
                }
            }
        }
    }
}

/// The Hadamard matrix of `N` on every `stride`-th vector, in registers.
#[inline(always)]
fn butterflies<const N: usize>(vectors: &mut [[f32; LANES]], stride: usize) {
    let mut values: [F32x4; N] = std::array::from_fn(|i| F32x4::load(&vectors[i * stride]));
    let mut half = 1;
    while half < N {
        for i in 0..N {
            if i & half == 0 {
                let (a, b) = (values[i], values[i + half]);
                values[i] = a.add(b);
                values[i + half] = a.sub(b);
            }
        }
        half *= 2;
    }
    for (i, value) in values.into_iter().enumerate() {
        value.store(&mut vectors[i * stride]);
    }
}
