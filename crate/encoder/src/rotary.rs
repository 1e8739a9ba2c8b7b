//! The angles of rotary positions (Su et al., <https://arxiv.org/abs/2104.09864>).

use burn::tensor::{Device, Tensor};

use crate::{RotarySpec, ops};

/// Of each position the cosines of half a head's angles, then their sines, as
/// [`NomicBertRotaryEmbedding`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L88)
/// computes them: in 32 bits.
///
/// # Shapes
///
/// Returns `[positions, head_size]`.
pub(crate) fn table(
    rotary: RotarySpec,
    head_size: usize,
    positions: usize,
    device: &Device,
) -> Tensor<2> {
    let exponents = (0..head_size).step_by(2).map(|i| i as f32 / head_size as f32);
    // A power in 64 bits, rounded, is what torch's own power is rounded to, but for the last bit of a few.
    let powers = exponents.map(|exponent| rotary.theta.powf(f64::from(exponent)) as f32);
    let frequencies = powers.map(|power| 1.0 / power / rotary.divisor as f32);
    let frequencies: Vec<f32> = frequencies.collect();
    let mut values = Vec::with_capacity(positions * head_size);
    for position in 0..positions {
        let angles = frequencies.iter().map(|frequency| position as f32 * frequency);
        values.extend(angles.clone().map(f32::cos));
        values.extend(angles.map(f32::sin));
    }
    ops::upload(values, [positions, head_size], device)
}
