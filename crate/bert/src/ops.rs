//! The operations that the encoder consists of, in Burn's own tensor ops.
//!
//! What is fused into one step is visible in a function's arguments; each of them is the place where
//! a backend's own kernel goes.

use std::ops::Range;

use burn::tensor::{Tensor, activation, module, ops::AttentionModuleOptions};

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `x * Φ(x)` with the error function, BERT's own form (Hendrycks & Gimpel,
    /// <https://arxiv.org/abs/1606.08415>); the tanh approximation differs by up to 4.7e-4.
    Gelu,
    /// Hyperbolic tangent.
    Tanh,
}

/// `activation(x · weightᵀ + bias)`, as `torch.nn.Linear`.
///
/// # Shapes
///
/// - `x`: `[rows, in_features]`
/// - `weight`: `[out_features, in_features]`, as it lies in the file
/// - `bias`: `[out_features]`
/// - returns `[rows, out_features]`
pub fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Tensor<2> {
    let y = module::linear(x, weight.transpose(), bias);
    match activation {
        Activation::Identity => y,
        Activation::Gelu => activation::gelu(y),
        Activation::Tanh => activation::tanh(y),
    }
}

/// Layer normalisation over the last dimension of `x`, or of `x + residual` (Ba et al.,
/// <https://arxiv.org/abs/1607.06450>).
///
/// # Shapes
///
/// - `x`, `residual`: `[rows, size]`
/// - `weight`, `bias`: `[size]`
/// - returns `[rows, size]`
pub fn layer_norm(
    x: Tensor<2>,
    residual: Option<Tensor<2>>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<2> {
    let x = match residual {
        Some(residual) => x + residual,
        None => x,
    };
    module::layer_norm(x, weight, Some(bias), epsilon)
}

/// Scaled dot-product attention of each text's tokens to the tokens of the same text:
/// `softmax(Q Kᵀ / √head_size) V` for every head (Vaswani et al., <https://arxiv.org/abs/1706.03762>).
///
/// # Shapes
///
/// - `query`, `key`, `value`: `[tokens, num_heads * head_size]`
/// - `texts`: each text's range of rows; together they cover all rows in order
/// - returns `[tokens, num_heads * head_size]`
pub fn packed_attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    texts: impl Iterator<Item = Range<usize>>,
    num_heads: usize,
) -> Tensor<2> {
    let [_, hidden_size] = query.dims();
    let head_size = hidden_size / num_heads;
    let heads = |x: &Tensor<2>, text: &Range<usize>| {
        x.clone()
            .slice_dim(0, text.clone())
            .reshape([1, text.len(), num_heads, head_size])
            .swap_dims(1, 2)
    };
    let contexts = texts
        .map(|text| {
            let context = module::attention(
                heads(&query, &text),
                heads(&key, &text),
                heads(&value, &text),
                None,
                None,
                AttentionModuleOptions::default(),
            );
            context.swap_dims(1, 2).reshape([text.len(), hidden_size])
        })
        .collect();
    Tensor::cat(contexts, 0)
}
