//! The operations on the CPU: Burn's tensors as slices, and [`embervec_kernels`].

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;
use embervec_kernels as kernels;

use super::{
    Activation, AttentionKernel, AttentionShape, BatchKernel, EncoderOps, LinearKernel,
    LinearShape, Next, Optional, OptionalLinear, QuantizedRows, RowsKernel, TableKernel,
};
use crate::SentencePooling;

impl EncoderOps for Flex {
    fn linear(
        x: RowsKernel<Self>,
        weight: LinearKernel<Self>,
        activation: Activation,
    ) -> FlexTensor {
        let x = x.values.to_contiguous();
        let x = x.storage::<f32>();
        let layer = layer(&weight);
        tensor(x.len() / layer.in_features, layer.out_features, |out| {
            kernels::linear(x, layer, activation, out);
        })
    }

    fn layer_norm(
        x: FlexTensor,
        residual: Optional<Self>,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f64,
        _: Next,
    ) -> RowsKernel<Self> {
        let x = x.to_contiguous();
        let x = x.storage::<f32>();
        let residual = match residual {
            Optional::None => None,
            Optional::Some(residual) => Some(residual.to_contiguous()),
        };
        let weight = weight.storage::<f32>();
        rows(tensor(x.len() / weight.len(), weight.len(), |out| {
            kernels::layer_norm(
                x,
                residual.as_ref().map(|residual| residual.storage()),
                weight,
                bias.storage(),
                epsilon as f32,
                out,
            );
        }))
    }

    fn self_attention(
        x: RowsKernel<Self>,
        qkv: LinearKernel<Self>,
        BatchKernel { batch, .. }: BatchKernel<Self>,
        AttentionShape { num_heads, window, epsilon }: AttentionShape,
        AttentionKernel { qk_norm, rotary, bias }: AttentionKernel<Self>,
        _: Next,
    ) -> RowsKernel<Self> {
        let x = x.values.to_contiguous();
        let qkv = layer(&qkv);
        let norm = match &qk_norm {
            Optional::None => None,
            Optional::Some(params) => {
                Some(kernels::QkNorm { params: params.storage(), epsilon: epsilon as f32 })
            }
        };
        let rotary = match &rotary {
            Optional::None => None,
            Optional::Some(table) => Some(kernels::Rotary { table: table.storage() }),
        };
        let bias = match &bias {
            Optional::None => None,
            Optional::Some(bias) => {
                let [_, distances] = bias.layout().shape().dims();
                Some(kernels::RelativeBias { values: bias.storage(), reach: distances / 2 })
            }
        };
        let texts: Vec<_> = batch.ranges().collect();
        rows(tensor(batch.token_count(), qkv.out_features / 3, |out| {
            let relative = kernels::Relative { rotary, bias, window };
            kernels::self_attention(x.storage(), qkv, &texts, num_heads, norm, relative, out);
        }))
    }

    fn add(x: FlexTensor, y: FlexTensor) -> FlexTensor {
        let [rows, size] = x.layout().shape().dims();
        let [x, y] = [x, y].map(|tensor| tensor.to_contiguous());
        tensor(rows, size, |out| {
            out.copy_from_slice(x.storage());
            add(out, y.storage());
        })
    }

    fn feed_forward(
        x: RowsKernel<Self>,
        intermediate: LinearKernel<Self>,
        gate: OptionalLinear<Self>,
        output: LinearKernel<Self>,
        activation: Activation,
    ) -> FlexTensor {
        let x = x.values.to_contiguous();
        let x = x.storage::<f32>();
        let [intermediate, output] = [layer(&intermediate), layer(&output)];
        let gate = match &gate {
            OptionalLinear::None => None,
            OptionalLinear::Some(gate) => Some(layer(gate)),
        };
        tensor(x.len() / intermediate.in_features, output.out_features, |out| {
            kernels::feed_forward(x, intermediate, gate, output, activation, out);
        })
    }

    fn embeddings(
        words: TableKernel<Self>,
        positions: TableKernel<Self>,
        token_types: FlexTensor,
        BatchKernel { batch, .. }: BatchKernel<Self>,
    ) -> FlexTensor {
        let [_, size] = token_types.layout().shape().dims();
        let token_types = token_types.storage::<f32>();
        let ids = batch.input_ids().iter().zip(batch.position_ids()).zip(batch.token_type_ids());
        let mut row = vec![0.0; size];
        tensor(batch.token_count(), size, |out| {
            for (out, ((&word, &position), &token_type)) in out.chunks_exact_mut(size).zip(ids) {
                read_row(&words, word, out);
                read_row(&positions, position, &mut row);
                add(out, &row);
                add(out, &token_types[token_type as usize * size..][..size]);
            }
        })
    }

    fn pool(
        hidden_states: FlexTensor,
        BatchKernel { batch, .. }: BatchKernel<Self>,
        pooling: SentencePooling,
    ) -> FlexTensor {
        let hidden_states = hidden_states.to_contiguous();
        let hidden_states = hidden_states.storage::<f32>();
        let size = hidden_states.len() / batch.token_count();
        let dimension = pooling.modes.len() * size;
        let mut pooled = Vec::with_capacity(batch.len() * dimension);
        for text in batch.ranges() {
            let tokens = &hidden_states[text.start * size..text.end * size];
            pooling.pool(tokens, size, &mut pooled);
        }
        FlexTensor::from_data(TensorData::new(pooled, [batch.len(), dimension]))
    }
}

const ON_A_GPU: &str = "only a GPU's Layout keeps weights in 16 bits";

/// The linear layer that comes next quantises them itself.
fn rows(values: FlexTensor) -> RowsKernel<Flex> {
    RowsKernel { values, quantized: QuantizedRows::None }
}

fn layer(weight: &LinearKernel<Flex>) -> kernels::Linear<'_> {
    let (weights, shape) = match weight {
        LinearKernel::F32 { panels, shape } => {
            (kernels::LinearWeights::F32(panels.storage()), shape)
        }
        LinearKernel::F16 { .. } => unreachable!("{ON_A_GPU}"),
        LinearKernel::Q8 { panels, params, shape } => {
            let (panels, params) = (panels.storage(), params.storage());
            (kernels::LinearWeights::Q8 { panels, params }, shape)
        }
    };
    let &LinearShape { in_features, out_features } = shape;
    kernels::Linear { weights, in_features, out_features }
}

fn read_row(table: &TableKernel<Flex>, id: u32, out: &mut [f32]) {
    let (id, size) = (id as usize, out.len());
    match table {
        TableKernel::F32(values) => {
            out.copy_from_slice(&values.storage::<f32>()[id * size..][..size]);
        }
        TableKernel::F16(_) => unreachable!("{ON_A_GPU}"),
        TableKernel::Q8 { values, rows } => {
            let [scale, zero_point] = rows.storage::<f32>().as_chunks().0[id];
            let row = kernels::RowQ8 { scale, zero_point: zero_point as u8 };
            kernels::dequantize_row(&values.storage::<u8>()[id * size..][..size], row, out);
        }
    }
}

fn add(out: &mut [f32], row: &[f32]) {
    for (out, x) in out.iter_mut().zip(row) {
        *out += x;
    }
}

/// A tensor of `[rows, columns]` that `fill` writes.
fn tensor(rows: usize, columns: usize, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut values = vec![0.0; rows * columns];
    fill(&mut values);
    FlexTensor::from_data(TensorData::new(values, [rows, columns]))
}
