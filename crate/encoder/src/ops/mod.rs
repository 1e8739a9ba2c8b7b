//! The operations that the encoder consists of, each with a kernel of its own on every backend.
//!
//! What is fused into one step is visible in a function's arguments. `reference` says in Burn's stock
//! ops what each computes; the tests compare.

#[cfg(feature = "webgpu")]
pub mod cube;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(test)]
mod reference;
// Only a GPU's artefact assembles them; what they can hold is known everywhere.
#[cfg_attr(not(any(test, feature = "webgpu")), allow(dead_code))]
pub(crate) mod shaders;

use std::sync::Arc;

#[cfg(feature = "webgpu")]
use burn::backend::DispatchDevice;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};
use embervec_kernels::{PackedQ8, RowQ8};
use embervec_weights::Values;
use half::f16;

pub use embervec_kernels::Activation;

use crate::{PackedBatch, Result, SentencePooling};

/// The encoder's operations, per backend. The functions of this module are their safe front.
#[backend_extension(Flex: cfg(feature = "cpu"), Cube: cfg(feature = "webgpu"))]
pub trait EncoderOps: Backend {
    /// See [`linear`].
    fn linear(
        #[extension_type] x: RowsKernel<Self>,
        #[extension_type] weight: LinearKernel<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// See [`layer_norm`].
    fn layer_norm(
        x: FloatTensor<Self>,
        #[extension_type] residual: Optional<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
        next: Next,
    ) -> RowsKernel<Self>;

    /// See [`self_attention`].
    fn self_attention(
        #[extension_type] x: RowsKernel<Self>,
        #[extension_type] qkv: LinearKernel<Self>,
        #[extension_type] batch: BatchKernel<Self>,
        shape: AttentionShape,
        #[extension_type] tensors: AttentionKernel<Self>,
        next: Next,
    ) -> RowsKernel<Self>;

    /// See [`add`].
    fn add(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`feed_forward`].
    fn feed_forward(
        #[extension_type] x: RowsKernel<Self>,
        #[extension_type] intermediate: LinearKernel<Self>,
        #[extension_type] gate: OptionalLinear<Self>,
        #[extension_type] output: LinearKernel<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// See [`embeddings`].
    fn embeddings(
        #[extension_type] words: TableKernel<Self>,
        #[extension_type] positions: TableKernel<Self>,
        token_types: FloatTensor<Self>,
        #[extension_type] batch: BatchKernel<Self>,
    ) -> FloatTensor<Self>;

    /// See [`pool`].
    fn pool(
        hidden_states: FloatTensor<Self>,
        #[extension_type] batch: BatchKernel<Self>,
        pooling: SentencePooling,
    ) -> FloatTensor<Self>;
}

/// What takes the rows that an operation gives. A GPU's kernel quantises them in the same pass; on the
/// CPU the linear layer itself does, while they are in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something that computes in `f32`.
    F32,
    /// A linear layer with 8-bit weights.
    Q8,
}

/// Hidden states on a device.
#[derive(Clone, Debug)]
pub struct Rows {
    values: Tensor<2>,
    quantized: Option<(Tensor<2, Int>, Tensor<2>)>,
}

impl Rows {
    /// In `f32`: `[rows, size]`.
    pub fn values(&self) -> Tensor<2> {
        self.values.clone()
    }

    fn kernel(self) -> RowsKernel<Dispatch> {
        RowsKernel {
            values: self.values.into_dispatch(),
            quantized: match self.quantized {
                None => QuantizedRows::None,
                Some((values, rows)) => {
                    QuantizedRows::Q8 { values: values.into_dispatch(), rows: rows.into_dispatch() }
                }
            },
        }
    }

    fn from_kernel(rows: RowsKernel<Dispatch>) -> Self {
        Self {
            values: Tensor::from_dispatch(rows.values),
            quantized: match rows.quantized {
                QuantizedRows::None => None,
                QuantizedRows::Q8 { values, rows } => {
                    Some((Tensor::from_dispatch(values), Tensor::from_dispatch(rows)))
                }
            },
        }
    }
}

impl From<Tensor<2>> for Rows {
    fn from(values: Tensor<2>) -> Self {
        Self { values, quantized: None }
    }
}

/// [`Rows`] as a backend's kernel takes and gives them.
#[derive(ExtensionType)]
pub struct RowsKernel<B: Backend> {
    /// `[rows, size]`
    pub values: FloatTensor<B>,
    /// The same rotated and in 8 bits, where the kernel that made them was asked for it.
    #[extension_type]
    pub quantized: QuantizedRows<B>,
}

/// The 8-bit form of [`RowsKernel`].
#[derive(ExtensionType)]
pub enum QuantizedRows<B: Backend> {
    /// None.
    None,
    /// Rotated and in 8 bits.
    Q8 {
        /// `[rows, size / 4]`: four values each.
        values: IntTensor<B>,
        /// `[rows, 2]`: of each row the scale and the sum of its values.
        rows: FloatTensor<B>,
    },
}

/// A batch on a device.
#[derive(Clone, Debug)]
pub struct DeviceBatch {
    batch: Arc<PackedBatch>,
    words: Option<Tensor<1, Int>>,
}

impl DeviceBatch {
    /// Uploads what the device's kernels need of a batch that was made for a model, once for all layers.
    pub(crate) fn new(batch: PackedBatch, device: &Device) -> Self {
        let words = match device.as_dispatch() {
            #[cfg(feature = "webgpu")]
            DispatchDevice::Cube(_) => {
                let words = batch.words();
                let count = words.len();
                Some(upload_words(words, [count], device))
            }
            #[allow(unreachable_patterns)]
            _ => None,
        };
        Self { batch: Arc::new(batch), words }
    }

    fn kernel(&self) -> BatchKernel<Dispatch> {
        BatchKernel {
            batch: self.batch.clone(),
            words: match &self.words {
                None => BatchWords::None,
                Some(words) => BatchWords::Words(words.clone().into_dispatch()),
            },
        }
    }
}

/// [`DeviceBatch`] as a backend's kernel takes it.
#[derive(ExtensionType)]
pub struct BatchKernel<B: Backend> {
    /// The batch.
    pub batch: Arc<PackedBatch>,
    /// The same on the device, where it is not the processor.
    #[extension_type]
    pub words: BatchWords<B>,
}

/// [`PackedBatch`] in a device's memory.
#[derive(ExtensionType)]
pub enum BatchWords<B: Backend> {
    /// None.
    None,
    /// As [`PackedBatch`] writes them.
    Words(IntTensor<B>),
}

/// The weights of a linear layer as a backend's kernel takes them.
#[derive(ExtensionType)]
pub enum LinearKernel<B: Backend> {
    /// In `f32`.
    F32 {
        /// On Flex the panels of [`embervec_kernels::pack_f32`]; on a GPU the bias as the first row,
        /// then the transposed weights: `[1 + in_features, out_features]`.
        panels: FloatTensor<B>,
        /// The layer's shape.
        shape: LinearShape,
    },
    /// In 16 bits, on a GPU.
    F16 {
        /// The transposed weights: `[in_features, out_features / 2]`, two values each.
        panels: IntTensor<B>,
        /// `[out_features]`
        bias: FloatTensor<B>,
        /// The layer's shape.
        shape: LinearShape,
    },
    /// In 7 bits.
    Q8 {
        /// On Flex the panels of [`embervec_kernels::PackedQ8`]; on a GPU `[in_features / 4,
        /// out_features]`, four values each.
        panels: IntTensor<B>,
        /// On Flex those of [`embervec_kernels::PackedQ8`]; on a GPU `[3, out_features]`: scales, biases
        /// and zero points.
        params: FloatTensor<B>,
        /// The layer's shape.
        shape: LinearShape,
    },
}

/// A tensor that may be left out: what is added before a layer normalisation, or to the scores of attention.
#[derive(ExtensionType)]
pub enum Optional<B: Backend> {
    /// Nothing.
    None,
    /// A tensor.
    Some(FloatTensor<B>),
}

/// [`AttentionTensors`] as a backend's kernel takes them.
#[derive(ExtensionType)]
pub struct AttentionKernel<B: Backend> {
    /// See there.
    #[extension_type]
    pub qk_norm: Optional<B>,
    /// See there.
    #[extension_type]
    pub rotary: Optional<B>,
    /// See there.
    #[extension_type]
    pub bias: Optional<B>,
}

/// A linear layer that may be left out: a gate.
#[derive(ExtensionType)]
pub enum OptionalLinear<B: Backend> {
    /// Nothing.
    None,
    /// A layer.
    Some(#[extension_type] LinearKernel<B>),
}

/// An embedding table as a backend's kernel takes it.
#[derive(ExtensionType)]
pub enum TableKernel<B: Backend> {
    /// In `f32`: `[rows, size]`.
    F32(FloatTensor<B>),
    /// In 16 bits, on a GPU: `[rows, size / 2]`, two values each.
    F16(IntTensor<B>),
    /// In 8 bits.
    Q8 {
        /// `[rows, size]`; on a GPU four values each.
        values: IntTensor<B>,
        /// `[rows, 2]`: of each row the scale and the zero point.
        rows: FloatTensor<B>,
    },
}

/// The number of inputs and outputs of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearShape {
    /// Values per input row.
    pub in_features: usize,
    /// Values per output row.
    pub out_features: usize,
}

/// What attention knows beside its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Number of heads.
    pub num_heads: usize,
    /// How far a token sees, before and behind itself; all of its text where there is no limit.
    pub window: Option<usize>,
    /// Of the normalisations of queries and keys, where there are some.
    pub epsilon: f64,
}

/// What changes queries, keys and scores, where a model has it.
#[derive(Clone, Debug, Default)]
pub struct AttentionTensors {
    /// `[4, hidden_size]`: weight and bias of the queries' layer normalisation, then of the keys'. A GPU has no kernel for that
    /// ([`crate::GpuNeeds`]).
    pub qk_norm: Option<Tensor<2>>,
    /// `[positions, head_size]`: what queries and keys are turned by, as [`embervec_kernels::Rotary`] has it.
    pub rotary: Option<Tensor<2>>,
    /// `[num_heads, 2 * reach + 1]`: what is added to the scores of each head for the distances from `-reach` to `reach` of the query
    /// from the key; beyond, as at the ends.
    pub bias: Option<Tensor<2>>,
}

/// The weights and bias of a linear layer, packed for the device that they are on.
#[derive(Module, Debug)]
pub struct LinearWeight {
    values: LinearValues,
    in_features: usize,
    out_features: usize,
}

#[derive(Module, Debug)]
enum LinearValues {
    F32(Param<Tensor<1>>),
    F16(LinearF16),
    Q8(LinearQ8),
}

#[derive(Module, Debug)]
struct LinearF16 {
    panels: Param<Tensor<2, Int>>,
    bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct LinearQ8 {
    panels: Param<Tensor<2, Int>>,
    params: Param<Tensor<1>>,
}

impl LinearWeight {
    /// # Shapes
    ///
    /// - `weight`: `[out_features, in_features]`, as it lies in a file
    /// - `bias`: `[out_features]`
    pub(crate) fn new(
        weight: Values,
        bias: &[f32],
        in_features: usize,
        device: &Device,
    ) -> LinearWeight {
        let layout = Layout::of(device);
        let values = match weight {
            Values::F32(weight) => {
                let panels = (layout.linear_f32)(&weight, bias, in_features);
                let count = panels.len();
                LinearValues::F32(floats(panels, [count], device))
            }
            Values::F16(weight) => match layout.f16 {
                None => return Self::new(widened(&weight), bias, in_features, device),
                Some(layout) => {
                    let weight = (layout.transpose)(&weight, in_features);
                    let shape = [in_features, bias.len()];
                    LinearValues::F16(LinearF16 {
                        panels: int_param((layout.upload)(&weight, shape, device)),
                        bias: floats(bias.to_vec(), [bias.len()], device),
                    })
                }
            },
            Values::Q8 { values, rows } => {
                let packed = (layout.linear_q8)(&values, &rows, bias, in_features);
                let (panels, params) = (packed.panels.len(), packed.params.len());
                LinearValues::Q8(LinearQ8 {
                    panels: int_param((layout.upload_bytes)(packed.panels, [1, panels], device)),
                    params: floats(packed.params, [params], device),
                })
            }
        };
        Self { values, in_features, out_features: bias.len() }
    }

    fn kernel(&self) -> LinearKernel<Dispatch> {
        let shape = LinearShape { in_features: self.in_features, out_features: self.out_features };
        match &self.values {
            LinearValues::F32(panels) => {
                LinearKernel::F32 { panels: panels.val().into_dispatch(), shape }
            }
            LinearValues::F16(LinearF16 { panels, bias }) => LinearKernel::F16 {
                panels: panels.val().into_dispatch(),
                bias: bias.val().into_dispatch(),
                shape,
            },
            LinearValues::Q8(LinearQ8 { panels, params }) => LinearKernel::Q8 {
                panels: panels.val().into_dispatch(),
                params: params.val().into_dispatch(),
                shape,
            },
        }
    }
}

/// An embedding table.
#[derive(Module, Debug)]
pub struct Table {
    values: TableValues,
}

#[derive(Module, Debug)]
enum TableValues {
    F32(Param<Tensor<2>>),
    F16(Param<Tensor<2, Int>>),
    Q8(TableQ8),
}

#[derive(Module, Debug)]
struct TableQ8 {
    values: Param<Tensor<2, Int>>,
    rows: Param<Tensor<2>>,
}

impl Table {
    /// # Shapes
    ///
    /// `values`: `[rows, size]`
    pub(crate) fn new(shape: [usize; 2], values: Values, device: &Device) -> Self {
        let values = match values {
            Values::F32(values) => TableValues::F32(floats(values, shape, device)),
            Values::F16(values) => match Layout::of(device).f16 {
                None => return Self::new(shape, widened(&values), device),
                Some(layout) => {
                    TableValues::F16(int_param((layout.upload)(&values, shape, device)))
                }
            },
            Values::Q8 { values, rows } => {
                let params: Vec<f32> = rows
                    .iter()
                    .flat_map(|&RowQ8 { scale, zero_point }| [scale, f32::from(zero_point)])
                    .collect();
                TableValues::Q8(TableQ8 {
                    values: int_param((Layout::of(device).upload_bytes)(values, shape, device)),
                    rows: floats(params, [rows.len(), 2], device),
                })
            }
        };
        Self { values }
    }

    fn kernel(&self) -> TableKernel<Dispatch> {
        match &self.values {
            TableValues::F32(values) => TableKernel::F32(values.val().into_dispatch()),
            TableValues::F16(values) => TableKernel::F16(values.val().into_dispatch()),
            TableValues::Q8(TableQ8 { values, rows }) => TableKernel::Q8 {
                values: values.val().into_dispatch(),
                rows: rows.val().into_dispatch(),
            },
        }
    }
}

/// Weights on a device.
pub(crate) fn floats<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Param<Tensor<D>> {
    Param::from_tensor(upload(values, shape, device))
}

/// How a backend's kernels want weights to lie.
struct Layout {
    /// `None` where they become 32-bit floats.
    f16: Option<LayoutF16>,
    linear_f32: fn(&[f32], &[f32], usize) -> Vec<f32>,
    linear_q8: fn(&[u8], &[RowQ8], &[f32], usize) -> PackedQ8,
    upload_bytes: fn(Vec<u8>, [usize; 2], &Device) -> Tensor<2, Int>,
}

struct LayoutF16 {
    transpose: fn(&[f16], usize) -> Vec<f16>,
    upload: fn(&[f16], [usize; 2], &Device) -> Tensor<2, Int>,
}

impl Layout {
    fn of(device: &Device) -> Self {
        match device.as_dispatch() {
            #[cfg(feature = "webgpu")]
            DispatchDevice::Cube(_) => Self {
                f16: Some(LayoutF16 {
                    transpose: cube::transpose,
                    upload: |values, [rows, columns], device| {
                        let (pairs, _) = values.as_chunks::<2>();
                        let word = |&[low, high]: &[f16; 2]| {
                            u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
                        };
                        let words = pairs.iter().map(word).collect();
                        upload_words(words, [rows, columns / 2], device)
                    },
                }),
                linear_f32: cube::pack_f32,
                linear_q8: cube::pack_q8,
                upload_bytes: |values, [rows, columns], device| {
                    let (words, _) = values.as_chunks::<4>();
                    let words = words.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
                    upload_words(words, [rows, columns / 4], device)
                },
            },
            #[allow(unreachable_patterns)]
            _ => Self {
                f16: None,
                linear_f32: embervec_kernels::pack_f32,
                linear_q8: embervec_kernels::pack_q8,
                upload_bytes: |values, shape, device| {
                    int_tensor(TensorData::new(values, shape), device)
                },
            },
        }
    }
}

fn widened(values: &[f16]) -> Values {
    Values::F32(values.iter().map(|value| value.to_f32()).collect())
}

fn int_param(tensor: Tensor<2, Int>) -> Param<Tensor<2, Int>> {
    Param::initialized(ParamId::new(), tensor)
}

fn int_tensor<const D: usize>(data: TensorData, device: &Device) -> Tensor<D, Int> {
    Tensor::from_dispatch(Dispatch::int_from_data(data, device.as_dispatch()))
}

#[cfg(feature = "webgpu")]
fn upload_words<const D: usize>(
    words: Vec<u32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D, Int> {
    int_tensor(TensorData::new(words, shape), device)
}

/// A tensor with these values.
///
/// `Tensor::from_data` does the same, but with its conversions between all dtypes it adds 340 kB to
/// a wasm module.
pub fn upload<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    let data = TensorData::new(values, shape);
    Tensor::from_dispatch(Dispatch::float_from_data(data, device.as_dispatch()))
}

/// `activation(x · weightᵀ + bias)`, as `torch.nn.Linear`. With 8-bit weights each row of `x` is
/// quantised on its own, so a token never depends on its neighbours.
///
/// # Shapes
///
/// - `x`: `[rows, in_features]`
/// - returns `[rows, out_features]`
pub fn linear(x: impl Into<Rows>, weight: &LinearWeight, activation: Activation) -> Tensor<2> {
    let y = <Dispatch as EncoderOps>::linear(x.into().kernel(), weight.kernel(), activation);
    Tensor::from_dispatch(y)
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
    next: Next,
) -> Rows {
    let residual = match residual {
        Some(residual) => Optional::Some(residual.into_dispatch()),
        None => Optional::None,
    };
    Rows::from_kernel(<Dispatch as EncoderOps>::layer_norm(
        x.into_dispatch(),
        residual,
        weight.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
        next,
    ))
}

/// `x + y`: a residual connection without a layer normalisation behind it.
///
/// # Shapes
///
/// - `x`, `y`: `[rows, size]`
/// - returns `[rows, size]`
pub fn add(x: Tensor<2>, y: Tensor<2>) -> Tensor<2> {
    let sum = <Dispatch as EncoderOps>::add(x.into_dispatch(), y.into_dispatch());
    Tensor::from_dispatch(sum)
}

/// Dot-product attention of each text's tokens to the tokens of the same text, or to those near by: `softmax(Q Kᵀ) V` for
/// every head (Vaswani et al., <https://arxiv.org/abs/1706.03762>), with the queries, keys and values that
/// one linear layer makes of `x`. The scale `1 / √head_size` is in the queries' weights where [`query_factor`] says so, else
/// in the kernel. On the CPU some heads at a time, which stay in its cache.
///
/// # Shapes
///
/// - `x`: `[batch.token_count(), hidden_size]`
/// - `qkv`: from `hidden_size` to three times as many: queries, keys, values
/// - returns `[batch.token_count(), hidden_size]`
pub fn self_attention(
    x: Rows,
    qkv: &LinearWeight,
    batch: &DeviceBatch,
    shape: AttentionShape,
    tensors: AttentionTensors,
    next: Next,
) -> Rows {
    let AttentionTensors { qk_norm, rotary, bias } = tensors;
    let optional = |tensor: Option<Tensor<2>>| {
        tensor.map_or(Optional::None, |tensor| Optional::Some(tensor.into_dispatch()))
    };
    Rows::from_kernel(<Dispatch as EncoderOps>::self_attention(
        x.kernel(),
        qkv.kernel(),
        batch.kernel(),
        shape,
        AttentionKernel {
            qk_norm: optional(qk_norm),
            rotary: optional(rotary),
            bias: optional(bias),
        },
        next,
    ))
}

/// The factor that the query weights are multiplied by for [`self_attention`] on this device. On the CPU it is the scale of
/// attention, which then costs nothing. A GPU's kernel scales by itself, so that 16-bit weights are rounded only once.
pub fn query_factor(head_size: usize, device: &Device) -> f32 {
    match device.as_dispatch() {
        #[cfg(feature = "webgpu")]
        DispatchDevice::Cube(_) => 1.0,
        #[allow(unreachable_patterns)]
        _ => 1.0 / (head_size as f32).sqrt(),
    }
}

/// `output(activation(intermediate(x)))`, two linear layers; with a gate `output(activation(intermediate(x)) * gate(x))`. On the CPU some rows at a time, so that the wide ones in
/// between stay in its cache.
///
/// # Shapes
///
/// - `x`: `[rows, hidden_size]`
/// - `intermediate`, `output`: from `hidden_size` to `intermediate_size`, and back
/// - `gate`: as `intermediate`.
/// - returns `[rows, hidden_size]`
pub fn feed_forward(
    x: Rows,
    intermediate: &LinearWeight,
    gate: Option<&LinearWeight>,
    output: &LinearWeight,
    activation: Activation,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as EncoderOps>::feed_forward(
        x.kernel(),
        intermediate.kernel(),
        gate.map_or(OptionalLinear::None, |gate| OptionalLinear::Some(gate.kernel())),
        output.kernel(),
        activation,
    ))
}

/// The sum of each token's word, position and token type embeddings.
///
/// # Shapes
///
/// - `words`, `positions`, `token_types`: `[rows, size]`
/// - returns `[batch.token_count(), size]`
pub fn embeddings(
    words: &Table,
    positions: &Table,
    token_types: Tensor<2>,
    batch: &DeviceBatch,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as EncoderOps>::embeddings(
        words.kernel(),
        positions.kernel(),
        token_types.into_dispatch(),
        batch.kernel(),
    ))
}

/// One vector for each text.
///
/// # Shapes
///
/// - `hidden_states`: `[batch.token_count(), hidden_size]`
/// - returns `[batch.len(), pooling.modes.len() * hidden_size]`
pub fn pool(hidden_states: Tensor<2>, batch: &DeviceBatch, pooling: &SentencePooling) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as EncoderOps>::pool(
        hidden_states.into_dispatch(),
        batch.kernel(),
        pooling.clone(),
    ))
}

/// A tensor's values, row by row.
///
/// # Errors
///
/// [`crate::Error::Device`] when the device fails.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|error| crate::Error::Device(error.to_string()))?;
    data.try_into_vec::<f32>().map_err(|error| crate::Error::Device(format!("{error:?}")))
}
