//! What the operations compute, in Burn's stock ops.

use burn::tensor::{Tensor, activation, module};

use super::Activation;
use crate::PackedBatch;

/// `weight`: `[out_features, in_features]`.
pub fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    activation: Activation,
) -> Tensor<2> {
    let y = module::linear(x, weight.transpose(), Some(bias));
    match activation {
        Activation::Identity => y,
        Activation::Gelu => activation::gelu(y),
        Activation::GeluTanh => activation::gelu_approximate(y),
        Activation::Relu => activation::relu(y),
        Activation::Silu => activation::silu(y),
        Activation::Tanh => activation::tanh(y),
    }
}

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

pub fn packed_attention(qkv: Tensor<2>, batch: &PackedBatch, num_heads: usize) -> Tensor<2> {
    let [_, width] = qkv.dims();
    let hidden_size = width / 3;
    let head_size = hidden_size / num_heads;
    let contexts = batch
        .ranges()
        .map(|text| {
            let tokens = text.len();
            let part = |index: usize| {
                qkv.clone()
                    .slice([text.clone(), index * hidden_size..(index + 1) * hidden_size])
                    .reshape([tokens, num_heads, head_size])
                    .swap_dims(0, 1)
            };
            let scores = part(0).matmul(part(1).swap_dims(1, 2));
            let context = activation::softmax(scores, 2).matmul(part(2));
            context.swap_dims(0, 1).reshape([tokens, hidden_size])
        })
        .collect();
    Tensor::cat(contexts, 0)
}

pub fn embeddings(
    words: Tensor<2>,
    positions: Tensor<2>,
    token_types: Tensor<2>,
    batch: &PackedBatch,
) -> Tensor<2> {
    let rows = |table: Tensor<2>, ids: &[u32]| {
        let rows = ids.iter().map(|&id| table.clone().slice_dim(0, id as usize..id as usize + 1));
        Tensor::cat(rows.collect(), 0)
    };
    rows(words, batch.input_ids())
        + rows(positions, batch.position_ids())
        + rows(token_types, batch.token_type_ids())
}

mod tests {
    use burn::tensor::{Device, Distribution, TensorData};
    use embervec_weights::Values;

    use super::super::{
        self as ops, AttentionShape, AttentionTensors, DeviceBatch, LinearWeight, Next, Table,
    };
    use super::*;
    use crate::Positions;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        ops::to_vec(tensor).expect("on the CPU")
    }

    fn assert_close(ours: Tensor<2>, reference: Tensor<2>, tolerance: f32) {
        assert_eq!(ours.dims(), reference.dims());
        for (ours, reference) in values(ours).into_iter().zip(values(reference)) {
            assert!((ours - reference).abs() <= tolerance, "{ours} and {reference}");
        }
    }

    fn batch(lengths: &[usize]) -> PackedBatch {
        let mut batch = PackedBatch::new();
        for &length in lengths {
            let ids: Vec<u32> = (0..length as u32).map(|i| i * 7 % 20).collect();
            let types: Vec<u32> = (0..length as u32).map(|i| i % 2).collect();
            batch.push(&ids, &types).expect("valid");
        }
        batch.of_model(Positions::table(32), true)
    }

    #[test]
    fn linear_is_the_reference() {
        for activation in [
            Activation::Identity,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Silu,
            Activation::Tanh,
        ] {
            let (x, weight, bias) = (random([5, 24]), random([35, 24]), random([35]));
            let ours = ops::linear(x.clone(), &in_f32(&weight, &bias), activation);
            assert_close(ours, linear(x, weight, bias, activation), 1e-5);
        }
    }

    /// Against the reference with the weights that the quantised ones stand for; what is left is
    /// the quantisation of `x`: half a step of 2 / 255, times 24 weights of at most 1.
    #[test]
    fn linear_q8_is_the_reference_of_what_it_stands_for() {
        let (x, weight, bias) = (random([5, 24]), random([35, 24]), random([35]));
        let mut quantized = Vec::new();
        let mut restored = vec![0.0; 35 * 24];
        let rows = values(weight)
            .chunks(24)
            .zip(restored.chunks_mut(24))
            .map(|(row, restored)| {
                let start = quantized.len();
                let q8 = embervec_kernels::quantize_weights(row, &mut quantized);
                embervec_kernels::dequantize_weights(&quantized[start..], q8, restored);
                q8
            })
            .collect();
        let packed = LinearWeight::new(
            Values::Q8 { values: quantized, rows },
            &values(bias.clone()),
            24,
            &Device::flex(),
        );
        let ours = ops::linear(x.clone(), &packed, Activation::Identity);
        let restored = Tensor::from_data(TensorData::new(restored, [35, 24]), &Device::flex());
        assert_close(ours, linear(x, restored, bias, Activation::Identity), 24.0 / 255.0);
    }

    #[test]
    fn layer_norm_is_the_reference() {
        let (x, residual) = (random([3, 24]), random([3, 24]));
        let (weight, bias) = (random([24]), random([24]));
        for residual in [None, Some(residual)] {
            let [ours, reference] = [
                |x, residual, weight, bias| {
                    ops::layer_norm(x, residual, weight, bias, 1e-12, Next::F32).values()
                },
                |x, residual, weight, bias| layer_norm(x, residual, weight, bias, 1e-12),
            ]
            .map(|f: fn(_, _, _, _) -> Tensor<2>| {
                f(x.clone(), residual.clone(), weight.clone(), bias.clone())
            });
            assert_close(ours, reference, 1e-5);
        }
    }

    fn in_f32(weight: &Tensor<2>, bias: &Tensor<1>) -> LinearWeight {
        let [_, in_features] = weight.dims();
        let weight = Values::F32(values(weight.clone()));
        LinearWeight::new(weight, &values(bias.clone()), in_features, &Device::flex())
    }

    #[test]
    fn self_attention_is_the_reference() {
        let batch = batch(&[1, 5, 19]);
        let (x, weight, bias) = (random([25, 24]), random([72, 24]), random([72]));
        let on_device = DeviceBatch::new(batch.clone(), &Device::flex());
        let qkv = in_f32(&weight, &bias);
        let shape = AttentionShape { num_heads: 3, window: None, epsilon: 0.0 };
        let ours = ops::self_attention(
            x.clone().into(),
            &qkv,
            &on_device,
            shape,
            AttentionTensors::default(),
            Next::F32,
        );
        let qkv = linear(x, weight, bias, Activation::Identity);
        assert_close(ours.values(), packed_attention(qkv, &batch, 3), 2e-5);
    }

    #[test]
    fn feed_forward_is_the_reference() {
        let x = random([25, 24]);
        let (weight, bias) = (random([96, 24]), random([96]));
        let (output_weight, output_bias) = (random([24, 96]), random([24]));
        let (intermediate, output) = (in_f32(&weight, &bias), in_f32(&output_weight, &output_bias));
        let ours =
            ops::feed_forward(x.clone().into(), &intermediate, None, &output, Activation::Gelu);
        let wide = linear(x, weight, bias, Activation::Gelu);
        let reference = linear(wide, output_weight, output_bias, Activation::Identity);
        assert_close(ours, reference, 1e-4);
    }

    #[test]
    fn embeddings_are_the_reference() {
        let batch = batch(&[1, 5, 19]);
        let (words, positions, token_types) = (random([20, 24]), random([19, 24]), random([2, 24]));
        let table = |tensor: &Tensor<2>| {
            Table::new(tensor.dims(), Values::F32(values(tensor.clone())), &Device::flex())
        };
        let on_device = DeviceBatch::new(batch.clone(), &Device::flex());
        let ours =
            ops::embeddings(&table(&words), &table(&positions), token_types.clone(), &on_device);
        assert_close(ours, embeddings(words, positions, token_types, &batch), 1e-6);
    }
}
