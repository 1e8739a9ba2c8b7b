//! The operations on a GPU: WGSL kernels of our own (`wgsl/`), launched through CubeCL's client.
//!
//! Shapes of the model are constants in the source, so that a driver compiles each kernel for just this
//! model; only numbers of rows are arguments. A layer is 7 launches, 8 with 8-bit weights.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use burn::backend::wgpu::{CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate};
use burn::backend::{BackendTensor, Cube, DispatchTensorKind};
use burn::cubecl::prelude::{CubeCount, KernelId};
use burn::cubecl::server::{KernelArguments, MetadataBindingInfo};
use burn::tensor::{DType, Shape, Tensor};
use embervec_kernels::{PackedQ8, RowQ8, rotation_block as block};
use half::f16;

use super::{
    Activation, BatchKernel, BatchWords, BertOps, LinearKernel, LinearShape, Next, QuantizedRows,
    Residual, RowsKernel, TableKernel,
};
use crate::{Error, PoolingMode, Result, SentencePooling};

/// Whether the browser's WGSL has `dot4I8Packed`; it is the same for all of its adapters.
static HAS_DOT4: AtomicBool = AtomicBool::new(false);

/// Says whether the browser's WGSL has the language feature `packed_4x8_integer_dot_product`. Without it
/// the same integers are computed byte by byte.
pub fn use_packed_dot(available: bool) {
    HAS_DOT4.store(available, Relaxed);
}

/// A dimension of a grid has at most this many workgroups (the lowest limit that WebGPU allows an adapter).
const MAX_GROUPS: u32 = 65_535;

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

impl BertOps for Cube {
    fn linear(
        x: RowsKernel<Self>,
        weight: LinearKernel<Self>,
        activation: Activation,
    ) -> CubeTensor {
        match weight {
            LinearKernel::F32 { panels, shape } => {
                linear_float(x.values, shape, activation, WEIGHT_F32, |launch| {
                    launch.read("weight", "vec4<f32>", &panels)
                })
            }
            LinearKernel::F16 { panels, bias, shape } => {
                linear_float(x.values, shape, activation, WEIGHT_F16, |launch| {
                    launch.read("weight", "vec2<u32>", &panels).read("bias", "vec4<f32>", &bias)
                })
            }
            LinearKernel::Q8 { panels, params, shape } => {
                let rows = x.values.meta.shape()[0];
                let (q, q_rows) = match x.quantized {
                    QuantizedRows::Q8 { values, rows } => (values, rows),
                    QuantizedRows::None => quantize_rows(&x.values),
                };
                let y = empty(&x.values, [rows, shape.out_features]);
                let out4 = shape.out_features / 4;
                let dot4 = match HAS_DOT4.load(Relaxed) {
                    true => DOT4,
                    false => DOT4_BY_BYTES,
                };
                Launch::new(&[ACTIVATION, dot4, include_str!("wgsl/linear_q8.wgsl")])
                    .constant("IN16", shape.in_features / 16)
                    .constant("OUT4", out4)
                    .constant("ACTIVATION", activation_code(activation))
                    .read("x", "vec4<u32>", &q)
                    .read("x_rows", "vec2<f32>", &q_rows)
                    .read("weight", "vec4<u32>", &panels)
                    .read("params", "vec4<f32>", &params)
                    .write("y", "vec4<f32>", &y)
                    .run(CubeDim::new_2d(16, 4), [out4.div_ceil(16), rows.div_ceil(16)], &[rows]);
                y
            }
        }
    }

    fn layer_norm(
        x: CubeTensor,
        residual: Residual<Self>,
        weight: CubeTensor,
        bias: CubeTensor,
        epsilon: f64,
        next: Next,
    ) -> RowsKernel<Self> {
        let [rows, size] = dims(&x);
        let y = empty(&x, [rows, size]);
        let split = match next {
            Next::F32 => Split { per_thread: size.div_ceil(64), row_threads: 64, rows: 1 },
            Next::Q8 => Split::rotated(size, 1),
        };
        let residual = match residual {
            Residual::None => None,
            Residual::Some(residual) => Some(residual),
        };
        let residual_at = match residual {
            None => "fn residual_at(i: u32) -> f32 { return 0.0; }\n",
            Some(_) => "fn residual_at(i: u32) -> f32 { return residual[i]; }\n",
        };
        let [place, next_step] = match next {
            Next::F32 => [
                "fn place(t: u32, i: u32) -> u32 { return i * ROW_THREADS + t; }\n",
                "fn next(values: ptr<function, array<f32, PER_THREAD>>, thread: u32, row: u32, live: bool) {}\n",
            ],
            Next::Q8 => [
                QUANTIZE,
                "fn next(values: ptr<function, array<f32, PER_THREAD>>, thread: u32, row: u32, live: bool) { quantize(values, thread, row, live); }\n",
            ],
        };
        let parts = [ROWS, place, residual_at, next_step, include_str!("wgsl/layer_norm.wgsl")];
        let mut launch = Launch::new(&parts)
            .split(&split)
            .constant("SIZE", size)
            .text_constant("EPSILON", format!("{epsilon:e}"))
            .read("x", "f32", &x);
        if let Some(residual) = &residual {
            launch = launch.read("residual", "f32", residual);
        }
        launch =
            launch.read("weight", "f32", &weight).read("bias", "f32", &bias).write("y", "f32", &y);
        let quantized = Quantized::new(&x, next, rows, size);
        launch = quantized.bind(launch);
        launch.run(split.dim(), [rows.div_ceil(split.rows), 1], &[rows]);
        quantized.with(y)
    }

    fn self_attention(
        x: RowsKernel<Self>,
        qkv: LinearKernel<Self>,
        BatchKernel { words, .. }: BatchKernel<Self>,
        num_heads: usize,
        next: Next,
    ) -> RowsKernel<Self> {
        let qkv = Self::linear(x, qkv, Activation::Identity);
        attention(qkv, batch_words(words), num_heads, next)
    }

    fn feed_forward(
        x: RowsKernel<Self>,
        intermediate: LinearKernel<Self>,
        output: LinearKernel<Self>,
    ) -> CubeTensor {
        let values = Self::linear(x, intermediate, Activation::Gelu);
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
        let ids = batch_words(ids);
        let y = empty(&token_types, [tokens, size]);
        let rows = table_rows("word", &words) + &table_rows("position", &positions);
        let mut launch = Launch::new(&[WIDEN, &rows, include_str!("wgsl/embeddings.wgsl")])
            .constant("SIZE4", size / 4)
            .read("batch", "u32", &ids)
            .read("token_types", "vec4<f32>", &token_types)
            .write("y", "vec4<f32>", &y);
        launch = bind_table(launch, ["word_values", "word_rows"], &words);
        launch = bind_table(launch, ["position_values", "position_rows"], &positions);
        launch.run(CubeDim::new_1d(64), [(tokens * size / 4).div_ceil(64), 1], &[tokens]);
        y
    }

    fn pool(
        hidden_states: CubeTensor,
        BatchKernel { batch, words }: BatchKernel<Self>,
        SentencePooling { modes, skip, normalize }: SentencePooling,
    ) -> CubeTensor {
        let [tokens, size] = dims(&hidden_states);
        let words = batch_words(words);
        let y = empty(&hidden_states, [batch.len(), modes.len() * size]);
        // No constants, so that this kernel too is made once, whatever the options of a call.
        let mut info = vec![tokens, skip, usize::from(normalize), modes.len()];
        info.extend(modes.into_iter().map(pooling_code));
        Launch::new(&[include_str!("wgsl/pool.wgsl")])
            .constant("SIZE4", size / 4)
            .read("x", "vec4<f32>", &hidden_states)
            .read("batch", "u32", &words)
            .write("y", "vec4<f32>", &y)
            .run(CubeDim::new_1d(64), [batch.len(), 1], &info);
        y
    }
}

const ACTIVATION: &str = include_str!("wgsl/activation.wgsl");
const ATTENTION: &str = include_str!("wgsl/attention.wgsl");
const QUANTIZE: &str = include_str!("wgsl/quantize.wgsl");
const ROWS: &str = include_str!("wgsl/rows.wgsl");

const WEIGHT_F32: &str =
    "fn weight_at(k: u32, column: u32) -> vec4<f32> { return weight[(1u + k) * OUT4 + column]; }
fn bias_at(column: u32) -> vec4<f32> { return weight[column]; }
";
const WEIGHT_F16: &str =
    "fn weight_at(k: u32, column: u32) -> vec4<f32> { return widen(weight[k * OUT4 + column]); }
fn bias_at(column: u32) -> vec4<f32> { return bias[column]; }
";
/// Without the feature `shader-f16`, which not every adapter has.
const WIDEN: &str = "fn widen(halves: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y)); }\n";

const DOT4: &str = "fn dot4(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }\n";
/// `b` holds weights of 7 bits, which need no sign.
const DOT4_BY_BYTES: &str = "fn dot4(a: u32, b: u32) -> i32 {
    let x = vec4<i32>(vec4<u32>(a << 24u, a << 16u, a << 8u, a)) >> vec4<u32>(24u);
    let w = vec4<i32>((vec4<u32>(b) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
    return dot(x, w);
}
";
const ATTENTION_Q8: &str = "var<workgroup> contexts: array<vec4<f32>, ROWS * SIZE4>;
fn write(token: u32, slot: u32, at: u32, value: vec4<f32>) { contexts[slot * SIZE4 + at] = value; }
fn next(thread: u32, token: u32, live: bool) {
    workgroupBarrier();
    let slot = thread / ROW_THREADS;
    var values: array<f32, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        let k = place(thread % ROW_THREADS, i);
        if (k < SIZE) { values[i] = contexts[slot * SIZE4 + k / 4u][k % 4u]; }
    }
    quantize(&values, thread, token, live);
}
";

fn activation_code(activation: Activation) -> usize {
    match activation {
        Activation::Identity => 0,
        Activation::Gelu => 1,
        Activation::Tanh => 2,
    }
}

fn pooling_code(mode: PoolingMode) -> usize {
    match mode {
        PoolingMode::Cls => 0,
        PoolingMode::LastToken => 1,
        PoolingMode::Max => 2,
        PoolingMode::WeightedMean => 3,
        PoolingMode::Sum => 4,
        PoolingMode::Mean => 5,
        PoolingMode::MeanSqrtLen => 6,
    }
}

/// Attention of each text's tokens to the tokens of the same text.
fn attention(qkv: CubeTensor, words: CubeTensor, num_heads: usize, next: Next) -> RowsKernel<Cube> {
    let [tokens, width] = dims(&qkv);
    let size = width / 3;
    let y = empty(&qkv, [tokens, size]);
    let split = match next {
        Next::F32 => Split { per_thread: 1, row_threads: num_heads, rows: (64 / num_heads).max(1) },
        Next::Q8 => Split::rotated(size, num_heads),
    };
    let parts: &[&str] = match next {
        Next::F32 => &[
            "fn write(token: u32, slot: u32, at: u32, value: vec4<f32>) { y[token * SIZE4 + at] = value; }\n\
             fn next(thread: u32, token: u32, live: bool) {}\n",
            ATTENTION,
        ],
        // The row goes on in 8 bits only.
        Next::Q8 => &[ROWS, QUANTIZE, ATTENTION_Q8, ATTENTION],
    };
    let mut launch = Launch::new(parts)
        .split(&split)
        .constant("SIZE", size)
        .constant("SIZE4", size / 4)
        .constant("HEADS", num_heads)
        .constant("HEAD4", size / num_heads / 4)
        .read("qkv", "vec4<f32>", &qkv)
        .read("batch", "u32", &words);
    if next == Next::F32 {
        launch = launch.write("y", "vec4<f32>", &y);
    }
    let quantized = Quantized::new(&qkv, next, tokens, size);
    launch = quantized.bind(launch);
    launch.run(split.dim(), [tokens.div_ceil(split.rows), 1], &[tokens]);
    quantized.with(y)
}

/// A linear layer with weights that `weight_at` gives as floats; `bind` binds them.
fn linear_float<'a>(
    x: CubeTensor,
    shape: LinearShape,
    activation: Activation,
    weight_at: &str,
    bind: impl FnOnce(Launch<'a>) -> Launch<'a>,
) -> CubeTensor {
    let rows = x.meta.shape()[0];
    let y = empty(&x, [rows, shape.out_features]);
    let (in4, out4) = (shape.in_features / 4, shape.out_features / 4);
    let launch = Launch::new(&[ACTIVATION, WIDEN, weight_at, include_str!("wgsl/linear.wgsl")])
        .constant("IN4", in4)
        .constant("OUT4", out4)
        .constant("ACTIVATION", activation_code(activation));
    bind(launch).read("x", "vec4<f32>", &x).write("y", "vec4<f32>", &y).run(
        CubeDim::new_2d(16, 4),
        [out4.div_ceil(16), rows.div_ceil(16)],
        &[rows],
    );
    y
}

fn quantize_rows(x: &CubeTensor) -> (CubeTensor, CubeTensor) {
    let [rows, size] = dims(x);
    let split = Split::rotated(size, 1);
    let quantized = Quantized::new(x, Next::Q8, rows, size);
    let launch = Launch::new(&[ROWS, QUANTIZE, include_str!("wgsl/quantize_rows.wgsl")])
        .split(&split)
        .constant("SIZE", size)
        .read("x", "f32", x);
    quantized.bind(launch).run(split.dim(), [rows.div_ceil(split.rows), 1], &[rows]);
    let Quantized(Some(tensors)) = quantized else { unreachable!("Next::Q8 makes them") };
    tensors
}

/// The 8-bit rows that a kernel also writes, where they are wanted.
struct Quantized(Option<(CubeTensor, CubeTensor)>);

impl Quantized {
    fn new(like: &CubeTensor, next: Next, rows: usize, size: usize) -> Self {
        Self(match next {
            Next::F32 => None,
            Next::Q8 => {
                Some((empty_of(like, [rows, size / 4], DType::U32), empty(like, [rows, 2])))
            }
        })
    }

    fn bind<'a>(&'a self, launch: Launch<'a>) -> Launch<'a> {
        match &self.0 {
            None => launch,
            Some((values, rows)) => {
                launch.write("q_values", "u32", values).write("q_rows", "vec2<f32>", rows)
            }
        }
    }

    fn with(self, values: CubeTensor) -> RowsKernel<Cube> {
        let quantized = match self.0 {
            None => QuantizedRows::None,
            Some((values, rows)) => QuantizedRows::Q8 { values, rows },
        };
        RowsKernel { values, quantized }
    }
}

/// How a workgroup's threads share rows.
struct Split {
    per_thread: usize,
    row_threads: usize,
    rows: usize,
}

impl Split {
    /// A thread holds the values that the rotation mixes; `least` threads are needed for something else.
    fn rotated(size: usize, least: usize) -> Self {
        let per_thread = block(size);
        let row_threads = (size / per_thread).max(least);
        // The row in workgroup memory, of which every adapter has 16 kB, must leave room for sums.
        let rows = (64 / row_threads).min(8192 / (4 * size)).max(1);
        Self { per_thread, row_threads, rows }
    }

    fn dim(&self) -> CubeDim {
        CubeDim::new_1d((self.row_threads * self.rows) as u32)
    }
}

fn table_rows(name: &str, table: &TableKernel<Cube>) -> String {
    let value = match table {
        TableKernel::F32(_) => format!("return {name}_values[row * SIZE4 + column];"),
        TableKernel::F16(_) => format!("return widen({name}_values[row * SIZE4 + column]);"),
        TableKernel::Q8 { .. } => format!(
            "let scale = {name}_rows[row];
             let word = vec4<u32>({name}_values[row * SIZE4 + column]);
             return scale.x * (vec4<f32>((word >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu)) - scale.y);"
        ),
    };
    format!("fn {name}_row(row: u32, column: u32) -> vec4<f32> {{ {value} }}\n")
}

fn bind_table<'a>(
    launch: Launch<'a>,
    [values_name, rows_name]: [&'static str; 2],
    table: &'a TableKernel<Cube>,
) -> Launch<'a> {
    match table {
        TableKernel::F32(values) => launch.read(values_name, "vec4<f32>", values),
        TableKernel::F16(values) => launch.read(values_name, "vec2<u32>", values),
        TableKernel::Q8 { values, rows } => {
            launch.read(values_name, "u32", values).read(rows_name, "vec2<f32>", rows)
        }
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

/// A kernel's source and arguments, put together in one place: every buffer is declared in the source in the
/// order in which it is bound.
struct Launch<'a> {
    constants: String,
    buffers: Vec<(String, &'a CubeTensor)>,
    parts: String,
}

impl<'a> Launch<'a> {
    fn new(parts: &[&str]) -> Self {
        Self { constants: String::new(), buffers: Vec::new(), parts: parts.concat() }
    }

    fn constant(mut self, name: &str, value: usize) -> Self {
        self.constants += &format!("const {name} = {value}u;\n");
        self
    }

    fn text_constant(mut self, name: &str, value: String) -> Self {
        self.constants += &format!("const {name} = {value};\n");
        self
    }

    fn split(self, split: &Split) -> Self {
        self.constant("PER_THREAD", split.per_thread)
            .constant("ROW_THREADS", split.row_threads)
            .constant("ROWS", split.rows)
            .constant("THREADS", split.row_threads * split.rows)
    }

    fn read(self, name: &str, element: &str, tensor: &'a CubeTensor) -> Self {
        self.buffer("read", name, element, tensor)
    }

    fn write(self, name: &str, element: &str, tensor: &'a CubeTensor) -> Self {
        self.buffer("read_write", name, element, tensor)
    }

    fn buffer(mut self, access: &str, name: &str, element: &str, tensor: &'a CubeTensor) -> Self {
        let binding = self.buffers.len();
        let declaration = format!(
            "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n"
        );
        self.buffers.push((declaration, tensor));
        self
    }

    fn run(self, threads: CubeDim, [x, y]: [usize; 2], info: &[usize]) {
        let Some((_, first)) = self.buffers.first() else { return };
        let client = first.client.clone();
        let mut source = self.constants;
        let mut arguments = KernelArguments::new();
        for (declaration, tensor) in &self.buffers {
            source += declaration;
            arguments = arguments.with_buffer(tensor.handle.clone().binding());
        }
        source += &format!(
            "@group(0) @binding({}) var<storage, read> info: array<u32>;\n",
            self.buffers.len()
        );
        source += &self.parts;
        let words = info.chunks(2).map(|pair| {
            let word = |i: usize| pair.get(i).map_or(0, |&value| value as u64);
            word(0) | word(1) << 32
        });
        let arguments = arguments.with_info(MetadataBindingInfo::custom(words.collect()));
        let (x, y) = (x as u32, y as u32);
        assert!(x <= MAX_GROUPS && y <= MAX_GROUPS, "a batch is too large for a grid");
        let kernel = SourceKernel::new(Source { text: source, threads }, threads);
        client.launch(Box::new(kernel), CubeCount::Static(x, y, 1), arguments);
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
