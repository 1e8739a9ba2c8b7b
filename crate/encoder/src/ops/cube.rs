//! The operations on a GPU: WGSL kernels of our own (`shaders`), launched through CubeCL's client. A layer of BERT is 7
//! launches, 8 with 8-bit weights.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use burn::backend::wgpu::{CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate};
use burn::backend::{BackendTensor, Cube, DispatchTensorKind};
use burn::cubecl::prelude::{CubeCount, KernelId};
use burn::cubecl::server::{KernelArguments, MetadataBindingInfo};
use burn::tensor::{DType, Shape, Tensor};
use embervec_kernels::{PackedQ8, RowQ8, rotation_block as block};
use half::f16;

use super::shaders::{self, Kept, Pairwise, Shader};
use super::{
    Activation, AttentionKernel, AttentionShape, BatchKernel, BatchWords, EncoderOps, LinearKernel,
    Next, Optional, OptionalLinear, QuantizedRows, RowsKernel, TableKernel,
};
use crate::gpu::MAX_GROUPS;
use crate::{Error, Result, SentencePooling};

/// A thread of attention reads all of its text. Of a long one so many tokens are launched at a time, as the longest texts of BERT
/// have twice over, so that no launch takes the seconds after which a driver ends it.
const TOKENS_PER_LAUNCH: usize = 1024;

/// Whether the browser's WGSL has `dot4I8Packed`; it is the same for all of its adapters.
static HAS_DOT4: AtomicBool = AtomicBool::new(false);

/// Says whether the browser's WGSL has the language feature `packed_4x8_integer_dot_product`. Without it
/// the same integers are computed byte by byte.
pub fn use_packed_dot(available: bool) {
    HAS_DOT4.store(available, Relaxed);
}

/// The bias as the first row, then the weights with the outputs side by side.
pub(super) fn pack_f32(weight: &[f32], bias: &[f32], in_features: usize) -> Vec<f32> {
    let out_features = bias.len();
    let mut packed = vec![0.0; (1 + in_features) * out_features];
    packed[..out_features].copy_from_slice(bias);
    for (j, row) in weight.chunks_exact(in_features).enumerate() {
        for (k, &w) in row.iter().enumerate() {
            packed[(1 + k) * out_features + j] = w;
        }
    }
    packed
}

/// The weights with the outputs side by side.
pub(super) fn transpose(weight: &[f16], in_features: usize) -> Vec<f16> {
    let column = |k: usize| weight.iter().skip(k).step_by(in_features).copied();
    (0..in_features).flat_map(column).collect()
}

/// Four values to a word, in the order in which `quantize.wgsl` writes activations.
pub(super) fn pack_q8(weight: &[u8], rows: &[RowQ8], bias: &[f32], in_features: usize) -> PackedQ8 {
    let out_features = bias.len();
    let block = block(in_features);
    let mut panels = vec![0; in_features * out_features];
    for (j, row) in weight.chunks_exact(in_features).enumerate() {
        for p in 0..in_features {
            let (t, i) = (p / block, p % block);
            panels[(p / 4 * out_features + j) * 4 + p % 4] = row[(t / 4 * block + i) * 4 + t % 4];
        }
    }
    let scales = rows.iter().map(|row| row.scale);
    let zero_points = rows.iter().map(|row| f32::from(row.zero_point));
    let params = scales.chain(bias.iter().copied()).chain(zero_points).collect();
    PackedQ8 { panels, params }
}

/// A tensor's values, from the GPU.
///
/// # Errors
///
/// [`Error::Device`] when the device is lost or any operation before has failed.
pub async fn read(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let tensor = match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
        #[allow(unreachable_patterns)]
        _ => return Err(Error::Device("the tensor is not on a GPU".into())),
    };
    let client = tensor.client.clone();
    let read = client.read_async(vec![tensor.handle.clone()]).await;
    let bytes = read.map_err(|error| Error::Device(error.to_string()))?;
    let count = tensor.meta.shape().num_elements();
    let words = bytes.iter().flat_map(|bytes| bytes.as_chunks::<4>().0);
    Ok(words.take(count).map(|&word| f32::from_le_bytes(word)).collect())
}

impl EncoderOps for Cube {
    fn linear(
        x: RowsKernel<Self>,
        weight: LinearKernel<Self>,
        activation: Activation,
    ) -> CubeTensor {
        let rows = x.values.meta.shape()[0];
        let (LinearKernel::F32 { shape, .. }
        | LinearKernel::F16 { shape, .. }
        | LinearKernel::Q8 { shape, .. }) = weight;
        let y = empty(&x.values, [rows, shape.out_features]);
        let (shader, buffers) = match &weight {
            LinearKernel::F32 { panels, .. } => (
                shaders::linear_float(shape, activation, Kept::F32),
                vec![panels.clone(), x.values],
            ),
            LinearKernel::F16 { panels, bias, .. } => (
                shaders::linear_float(shape, activation, Kept::F16),
                vec![panels.clone(), bias.clone(), x.values],
            ),
            LinearKernel::Q8 { panels, params, .. } => {
                let (q, q_rows) = match x.quantized {
                    QuantizedRows::Q8 { values, rows } => (values, rows),
                    QuantizedRows::None => quantize_rows(&x.values),
                };
                (
                    shaders::linear_q8(shape, activation, HAS_DOT4.load(Relaxed)),
                    vec![q, q_rows, panels.clone(), params.clone()],
                )
            }
        };
        let columns = (shape.out_features / 4).div_ceil(16);
        Launch::new(&shader).all(&buffers).bind(&y).run([columns, rows.div_ceil(16)], &[rows]);
        y
    }

    fn layer_norm(
        x: CubeTensor,
        residual: Optional<Self>,
        weight: CubeTensor,
        bias: CubeTensor,
        epsilon: f64,
        next: Next,
    ) -> RowsKernel<Self> {
        let [rows, size] = dims(&x);
        let y = empty(&x, [rows, size]);
        let quantized = Quantized::new(&x, next, rows, size);
        let residual = match residual {
            Optional::None => None,
            Optional::Some(residual) => Some(residual),
        };
        let (shader, split) = shaders::layer_norm(size, epsilon, residual.is_some(), next);
        Launch::new(&shader)
            .bind(&x)
            .all(residual.as_slice())
            .bind(&weight)
            .bind(&bias)
            .bind(&y)
            .all(quantized.tensors())
            .run([rows.div_ceil(split.rows), 1], &[rows]);
        quantized.with(y)
    }

    fn self_attention(
        x: RowsKernel<Self>,
        qkv: LinearKernel<Self>,
        BatchKernel { words, .. }: BatchKernel<Self>,
        AttentionShape { num_heads, window, .. }: AttentionShape,
        AttentionKernel { qk_norm, rotary, bias }: AttentionKernel<Self>,
        next: Next,
    ) -> RowsKernel<Self> {
        debug_assert!(matches!(qk_norm, Optional::None), "`GpuNeeds` refuses such a model");
        let qkv = Self::linear(x, qkv, Activation::Identity);
        let [tokens, width] = dims(&qkv);
        let size = width / 3;
        let batch = batch_words(words);
        if let Optional::Some(angles) = &rotary {
            let shader = shaders::rotary(size, num_heads);
            let launch = Launch::new(&shader).bind(&batch).bind(angles).bind(&qkv);
            launch.run([size.div_ceil(64), tokens], &[tokens]);
        }
        let biases = match bias {
            Optional::None => None,
            Optional::Some(biases) => Some(biases),
        };
        let reach = biases.as_ref().map_or(0, |biases| dims(biases)[1] / 2);
        let y = empty(&qkv, [tokens, size]);
        let quantized = Quantized::new(&qkv, next, tokens, size);
        let (shader, split) = shaders::attention(size, num_heads, window, biases.is_some(), next);
        for start in (0..tokens).step_by(TOKENS_PER_LAUNCH) {
            let end = tokens.min(start + TOKENS_PER_LAUNCH);
            let launch = Launch::new(&shader).bind(&qkv).bind(&batch).all(biases.as_slice());
            let launch = match next {
                Next::F32 => launch.bind(&y),
                Next::Q8 => launch.all(quantized.tensors()),
            };
            launch.run([(end - start).div_ceil(split.rows), 1], &[end, start, reach]);
        }
        quantized.with(y)
    }

    fn add(x: CubeTensor, y: CubeTensor) -> CubeTensor {
        elementwise(&x, &y, Pairwise::Sum)
    }

    fn feed_forward(
        x: RowsKernel<Self>,
        intermediate: LinearKernel<Self>,
        gate: OptionalLinear<Self>,
        output: LinearKernel<Self>,
        activation: Activation,
    ) -> CubeTensor {
        let values = match gate {
            OptionalLinear::None => Self::linear(x, intermediate, activation),
            OptionalLinear::Some(gate) => {
                let again = match &x.quantized {
                    QuantizedRows::None => QuantizedRows::None,
                    QuantizedRows::Q8 { values, rows } => {
                        QuantizedRows::Q8 { values: values.clone(), rows: rows.clone() }
                    }
                };
                let again = RowsKernel { values: x.values.clone(), quantized: again };
                let wide = Self::linear(x, intermediate, activation);
                let factors = Self::linear(again, gate, Activation::Identity);
                elementwise(&wide, &factors, Pairwise::Product)
            }
        };
        let x = RowsKernel { values, quantized: QuantizedRows::None };
        Self::linear(x, output, Activation::Identity)
    }

    fn embeddings(
        words: TableKernel<Self>,
        positions: TableKernel<Self>,
        token_types: CubeTensor,
        BatchKernel { batch, words: ids }: BatchKernel<Self>,
    ) -> CubeTensor {
        let [_, size] = dims(&token_types);
        let tokens = batch.token_count();
        let y = empty(&token_types, [tokens, size]);
        let (word_kind, word_tensors) = table(words);
        let (position_kind, position_tensors) = table(positions);
        let shader = shaders::embeddings(size, word_kind, position_kind);
        Launch::new(&shader)
            .bind(&batch_words(ids))
            .bind(&token_types)
            .bind(&y)
            .all(&word_tensors)
            .all(&position_tensors)
            .run([(tokens * size / 4).div_ceil(64), 1], &[tokens]);
        y
    }

    fn pool(
        hidden_states: CubeTensor,
        BatchKernel { batch, words }: BatchKernel<Self>,
        SentencePooling { modes, skip, normalize }: SentencePooling,
    ) -> CubeTensor {
        let [tokens, size] = dims(&hidden_states);
        let y = empty(&hidden_states, [batch.len(), modes.len() * size]);
        let mut info = vec![tokens, skip, usize::from(normalize), modes.len()];
        info.extend(modes.into_iter().map(shaders::pooling_code));
        Launch::new(&shaders::pool(size))
            .bind(&hidden_states)
            .bind(&batch_words(words))
            .bind(&y)
            .run([batch.len(), 1], &info);
        y
    }
}

fn elementwise(a: &CubeTensor, b: &CubeTensor, how: Pairwise) -> CubeTensor {
    let [rows, size] = dims(a);
    let y = empty(a, [rows, size]);
    let shader = shaders::elementwise(size, how);
    let launch = Launch::new(&shader).bind(a).bind(b).bind(&y);
    launch.run([(size / 4).div_ceil(64), rows], &[rows]);
    y
}

fn quantize_rows(x: &CubeTensor) -> (CubeTensor, CubeTensor) {
    let [rows, size] = dims(x);
    let [values, row_params] = quantized_rows(x, rows, size);
    let (shader, split) = shaders::quantize_rows(size);
    Launch::new(&shader)
        .bind(x)
        .bind(&values)
        .bind(&row_params)
        .run([rows.div_ceil(split.rows), 1], &[rows]);
    (values, row_params)
}

/// Empty tensors for rows in 8 bits, and for their scales and sums.
fn quantized_rows(like: &CubeTensor, rows: usize, size: usize) -> [CubeTensor; 2] {
    [empty_of(like, [rows, size / 4], DType::U32), empty(like, [rows, 2])]
}

/// The 8-bit rows that a kernel also writes, where they are wanted.
struct Quantized(Option<[CubeTensor; 2]>);

impl Quantized {
    fn new(like: &CubeTensor, next: Next, rows: usize, size: usize) -> Self {
        Self(match next {
            Next::F32 => None,
            Next::Q8 => Some(quantized_rows(like, rows, size)),
        })
    }

    fn tensors(&self) -> &[CubeTensor] {
        self.0.as_ref().map_or(&[], |tensors| &tensors[..])
    }

    fn with(self, values: CubeTensor) -> RowsKernel<Cube> {
        let quantized = match self.0 {
            None => QuantizedRows::None,
            Some([values, rows]) => QuantizedRows::Q8 { values, rows },
        };
        RowsKernel { values, quantized }
    }
}

/// How a table is kept, and its tensors in the order in which they are bound.
fn table(table: TableKernel<Cube>) -> (Kept, Vec<CubeTensor>) {
    match table {
        TableKernel::F32(values) => (Kept::F32, vec![values]),
        TableKernel::F16(values) => (Kept::F16, vec![values]),
        TableKernel::Q8 { values, rows } => (Kept::Q8, vec![values, rows]),
    }
}

fn batch_words(words: BatchWords<Cube>) -> CubeTensor {
    match words {
        BatchWords::Words(words) => words,
        BatchWords::None => unreachable!("DeviceBatch::new uploads them for this backend"),
    }
}

fn dims(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}

fn empty(like: &CubeTensor, shape: [usize; 2]) -> CubeTensor {
    empty_of(like, shape, DType::F32)
}

fn empty_of(like: &CubeTensor, shape: [usize; 2], dtype: DType) -> CubeTensor {
    let handle = like.client.empty(4 * shape[0] * shape[1]);
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        Shape::from(shape),
        handle,
        dtype,
    )
}

/// A kernel and the tensors that are bound to its buffers.
struct Launch<'a> {
    shader: &'a Shader,
    arguments: KernelArguments,
    count: usize,
    /// Any of the tensors: all are on one device.
    tensor: Option<CubeTensor>,
}

impl<'a> Launch<'a> {
    fn new(shader: &'a Shader) -> Self {
        Self { shader, arguments: KernelArguments::new(), count: 0, tensor: None }
    }

    fn bind(mut self, tensor: &CubeTensor) -> Self {
        self.arguments = self.arguments.with_buffer(tensor.handle.clone().binding());
        self.count += 1;
        self.tensor.get_or_insert_with(|| tensor.clone());
        self
    }

    fn all(self, tensors: &[CubeTensor]) -> Self {
        tensors.iter().fold(self, Self::bind)
    }

    fn run(self, [x, y]: [usize; 2], info: &[usize]) {
        let Some(tensor) = self.tensor else { return };
        debug_assert_eq!(self.count, self.shader.buffer_count());
        let words = info.chunks(2).map(|pair| {
            let word = |i: usize| pair.get(i).map_or(0, |&value| value as u64);
            word(0) | word(1) << 32
        });
        let arguments = self.arguments.with_info(MetadataBindingInfo::custom(words.collect()));
        // `GpuNeeds` refuses models whose batches could be larger.
        debug_assert!(x <= MAX_GROUPS && y <= MAX_GROUPS);
        let [threads_x, threads_y] = self.shader.threads.map(|threads| threads as u32);
        let threads = CubeDim::new_2d(threads_x, threads_y);
        let kernel = SourceKernel::new(Source { text: self.shader.source(), threads }, threads);
        let count = CubeCount::Static(x as u32, y as u32, 1);
        tensor.client.launch(Box::new(kernel), count, arguments);
    }
}

/// A kernel's whole source, which is also its identity.
struct Source {
    text: String,
    threads: CubeDim,
}

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.text.clone())
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.text.clone()).cube_dim(self.threads.0)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}
