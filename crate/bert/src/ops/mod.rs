//! The operations that the encoder consists of, each with a kernel of its own on every backend.
//!
//! What is fused into one step is visible in a function's arguments. `reference` says in Burn's stock
//! ops what each computes; the tests compare.

mod flex;
#[cfg(test)]
mod reference;

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};
use embervec_kernels::{RowQ8, pack_f32, pack_q8};

pub use embervec_kernels::Activation;

use crate::weights::Values;
use crate::{PackedBatch, Result};

/// The encoder's operations, per backend. The functions of this module are their safe front.
#[backend_extension(Flex)]
pub trait BertOps: Backend {
    /// See [`linear`].
    fn linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: LinearKernel<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// See [`layer_norm`]; `x` and `residual` are equal where there is no residual.
    fn layer_norm(
        x: FloatTensor<Self>,
        #[extension_type] residual: Residual<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// See [`packed_attention`].
    fn packed_attention(
        qkv: FloatTensor<Self>,
        batch: PackedBatch,
        num_heads: usize,
    ) -> FloatTensor<Self>;

    /// See [`embeddings`].
    fn embeddings(
        #[extension_type] words: TableKernel<Self>,
        #[extension_type] positions: TableKernel<Self>,
        token_types: FloatTensor<Self>,
        batch: PackedBatch,
    ) -> FloatTensor<Self>;
}

/// The weights of a linear layer as a backend's kernel takes them.
#[derive(ExtensionType)]
pub enum LinearKernel<B: Backend> {
    /// In `f32`.
    F32 {
        /// On Flex the panels of [`embervec_kernels::pack_f32`].
        panels: FloatTensor<B>,
        /// The layer's shape.
        shape: LinearShape,
    },
    /// In 7 bits.
    Q8 {
        /// On Flex the panels of [`embervec_kernels::PackedQ8`].
        panels: IntTensor<B>,
        /// Scales, biases, zero points and corrections of [`embervec_kernels::PackedQ8`].
        params: FloatTensor<B>,
        /// The layer's shape.
        shape: LinearShape,
    },
}

/// What is added before a layer normalisation.
#[derive(ExtensionType)]
pub enum Residual<B: Backend> {
    /// Nothing.
    None,
    /// A tensor of the same shape.
    Some(FloatTensor<B>),
}

/// An embedding table as a backend's kernel takes it.
#[derive(ExtensionType)]
pub enum TableKernel<B: Backend> {
    /// In `f32`: `[rows, size]`.
    F32(FloatTensor<B>),
    /// In 8 bits.
    Q8 {
        /// `[rows, size]`.
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
    Q8(LinearQ8),
}

#[derive(Module, Debug)]
struct LinearQ8 {
    panels: Param<Tensor<1, Int>>,
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
        let values = match weight {
            Values::F32(weight) => {
                let panels = pack_f32(&weight, bias, in_features);
                let count = panels.len();
                LinearValues::F32(floats(panels, [count], device))
            }
            Values::Q8 { values, rows } => {
                let packed = pack_q8(&values, &rows, bias, in_features);
                let (panels, params) = (packed.panels.len(), packed.params.len());
                LinearValues::Q8(LinearQ8 {
                    panels: bytes(packed.panels, [panels], device),
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
            Values::Q8 { values, rows } => {
                let params: Vec<f32> = rows
                    .iter()
                    .flat_map(|&RowQ8 { scale, zero_point }| [scale, f32::from(zero_point)])
                    .collect();
                TableValues::Q8(TableQ8 {
                    values: bytes(values, shape, device),
                    rows: floats(params, [rows.len(), 2], device),
                })
            }
        };
        Self { values }
    }

    fn kernel(&self) -> TableKernel<Dispatch> {
        match &self.values {
            TableValues::F32(values) => TableKernel::F32(values.val().into_dispatch()),
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

fn bytes<const D: usize>(
    values: Vec<u8>,
    shape: [usize; D],
    device: &Device,
) -> Param<Tensor<D, Int>> {
    let data = TensorData::new(values, shape);
    let tensor = Tensor::from_dispatch(Dispatch::int_from_data(data, device.as_dispatch()));
    Param::initialized(ParamId::new(), tensor)
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
pub fn linear(x: Tensor<2>, weight: &LinearWeight, activation: Activation) -> Tensor<2> {
    let y = <Dispatch as BertOps>::linear(x.into_dispatch(), weight.kernel(), activation);
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
) -> Tensor<2> {
    let residual = match residual {
        Some(residual) => Residual::Some(residual.into_dispatch()),
        None => Residual::None,
    };
    Tensor::from_dispatch(<Dispatch as BertOps>::layer_norm(
        x.into_dispatch(),
        residual,
        weight.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
    ))
}

/// Dot-product attention of each text's tokens to the tokens of the same text: `softmax(Q Kᵀ) V` for
/// every head (Vaswani et al., <https://arxiv.org/abs/1706.03762>). The scale `1 / √head_size` is
/// already in the weights that made `Q`.
///
/// # Shapes
///
/// - `qkv`: `[batch.token_count(), 3 * num_heads * head_size]`: queries, keys, values
/// - returns `[batch.token_count(), num_heads * head_size]`
pub fn packed_attention(qkv: Tensor<2>, batch: &PackedBatch, num_heads: usize) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as BertOps>::packed_attention(
        qkv.into_dispatch(),
        batch.clone(),
        num_heads,
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
    batch: &PackedBatch,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as BertOps>::embeddings(
        words.kernel(),
        positions.kernel(),
        token_types.into_dispatch(),
        batch.clone(),
    ))
}

/// A tensor's values, row by row.
///
/// # Errors
///
/// [`crate::Error::Device`] when the device does not deliver.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|error| crate::Error::Device(error.to_string()))?;
    data.try_into_vec::<f32>().map_err(|error| crate::Error::Device(format!("{error:?}")))
}
