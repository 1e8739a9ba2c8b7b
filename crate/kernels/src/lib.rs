//! The CPU kernels of a BERT encoder, and of a search in its vectors, on slices.
//!
//! | kernel | what it computes |
//! |---|---|
//! | [`linear`] | `activation(x · weightᵀ + bias)` with packed weights in `f32` or 7 bits |
//! | [`self_attention`] | a linear layer, and attention with the queries, keys and values that it makes, turned or not |
//! | [`feed_forward`] | two linear layers with an activation between them, or three with a gate |
//! | [`layer_norm`] | layer normalisation of `x`, or of `x + residual` |
//! | [`attention`] | softmax attention of each text's tokens to the tokens of the same text, or to those near by |
//! | [`dequantize_row`] | a row of an 8-bit embedding table |
//! | [`i8_dot`] | the products of many 8-bit rows with a 16-bit query |
//! | [`bit_dot`] | the same of rows of one bit a dimension with a query of 4 bits |
//!
//! Three rules hold for all of them:
//!
//! 1. **A row depends on its own inputs only.** Each output is accumulated over `k` from first to
//!    last, whatever tile it falls into, so a text has the same bits alone and in any batch.
//! 2. **A choice of variant changes the time, never a bit** ([`Selection`]).
//! 3. **q8 is exact in integers.** Weights lie in 0..=127, which the relaxed dot product needs to be
//!    the same on every machine; only the last multiplication is in `f32`.
//!
//! What is called from outside is never inlined: callers may be compiled for size, and a kernel within them would be, too.
//!
//! [`mod@scalar`] says what each kernel means, in plain loops; the tests compare every variant with it.

mod attention;
mod layer_norm;
mod linear;
mod linear_f32;
mod linear_q8;
mod math;
mod quantize;
mod rotary;
mod rotate;
pub mod scalar;
mod scan;
mod selection;
mod simd;
mod tile;

pub use attention::{Relative, RelativeBias, attention};
pub use layer_norm::{QkNorm, layer_norm};
pub use linear::{Linear, LinearWeights, feed_forward, linear, self_attention};
pub use linear_f32::pack_f32;
pub use linear_q8::{MAX_IN_FEATURES as MAX_IN_FEATURES_Q8, PackedQ8, pack_q8};
pub use quantize::{
    ACTIVATION_MAX, RowQ8, TABLE_MAX, WEIGHT_MAX, dequantize_row, dequantize_weights, quantize_row,
    quantize_weights,
};
pub use rotary::Rotary;
pub use rotate::block as rotation_block;
pub use scan::{
    QUERY_BITS, Reach, RowFactors, SignRow, above, bit_dot, bit_planes, bit_words, i8_dot,
    sign_bits,
};
pub use selection::{F32Tile, Q8Tile, Selection};

/// What follows a linear layer, in the same pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `x * Φ(x)` with the error function, BERT's own form (Hendrycks & Gimpel,
    /// <https://arxiv.org/abs/1606.08415>); the tanh approximation differs by up to 4.7e-4.
    Gelu,
    /// The tanh approximation of that: `x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// `x / (1 + e^-x)` (Elfwing et al., <https://arxiv.org/abs/1702.03118>).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// Which instructions this build was compiled for.
pub const ISA: &str = if cfg!(all(target_arch = "wasm32", feature = "relaxed")) {
    "relaxed"
} else if cfg!(target_arch = "wasm32") {
    "simd128"
} else {
    "portable"
};
