//! Attention with linear biases (Press et al., <https://arxiv.org/abs/2108.12409>), on both sides of a token.

use burn::tensor::{Device, Tensor};

use crate::ops;

/// What is added to each head's scores, as
/// [`build_alibi_tensor`](https://github.com/huggingface/text-embeddings-inference/blob/41a97d4165bef417443aa6466b93b0acd4c75234/backends/candle/src/alibi.rs)
/// computes it.
///
/// # Shapes
///
/// Returns `[num_heads, 2 * reach + 1]`, for distances from `-reach` to `reach`.
pub(crate) fn table(num_heads: usize, reach: usize, device: &Device) -> Tensor<2> {
    let distances = 2 * reach + 1;
    let of_slope = |slope: f32| (0..distances).map(move |at| -slope * at.abs_diff(reach) as f32);
    let values = slopes(num_heads).into_iter().flat_map(of_slope).collect();
    ops::upload(values, [num_heads, distances], device)
}

/// Those of a power of two; for another number of heads those of the power below, then every second one of the power above.
fn slopes(num_heads: usize) -> Vec<f32> {
    let below = 1 << num_heads.ilog2();
    let mut slopes: Vec<f32> = of_power_of_two(below).collect();
    slopes.extend(of_power_of_two(2 * below).step_by(2).take(num_heads - below));
    slopes
}

fn of_power_of_two(num_heads: usize) -> impl Iterator<Item = f32> {
    // Not `exp2`, which would add 2 kB of tables to a wasm module.
    (1..=num_heads).map(move |head| 2f64.powf(-8.0 * head as f64 / num_heads as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn slopes_halve_from_head_to_head() {
        assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        assert_eq!(slopes(1), [0.00390625]);
        // The paper's code for 12 heads: those of 8, then of 16 the first, third, fifth and seventh.
        let between = |power: f32| 2f32.powf(-power);
        assert_eq!(slopes(12)[8..], [between(0.5), between(1.5), between(2.5), between(3.5)]);
    }
}
