//! The encoder: one struct per Hugging Face class, in the order of `modeling_bert.py`.
//!
//! Dropout is left out everywhere: it does nothing outside training.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use embervec_weights::{Error as WeightsError, Values, Weights};

use crate::ops::{self, Activation, DeviceBatch, LinearWeight, Next, Rows, Table};
use crate::{BertConfig, Error, PackedBatch, Result, SentencePooling};

/// `torch.nn.Linear`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: LinearWeight,
}

impl Linear {
    /// Takes `{name}.weight`, and `{name}.bias` if there is one.
    pub fn load(weights: &mut Weights, name: &str, device: &Device) -> Result<Self> {
        Self::load_stacked(weights, &[(name, 1.0)], device)
    }

    /// Takes several layers with the same input as one: their outputs side by side, each multiplied
    /// by a factor.
    fn load_stacked(weights: &mut Weights, parts: &[(&str, f32)], device: &Device) -> Result<Self> {
        let mut stacked: Option<Values> = None;
        let mut stacked_bias = Vec::new();
        let mut columns = 0;
        for &(name, factor) in parts {
            let ([out_features, in_features], mut weight) =
                weights.take(&format!("{name}.weight"))?;
            columns = in_features;
            weight.scale(factor);
            let bias = format!("{name}.bias");
            match weights.contains(&bias) {
                true => {
                    let ([_], bias) = weights.take_f32(&bias)?;
                    stacked_bias.extend(bias.iter().map(|x| x * factor));
                }
                false => stacked_bias.resize(stacked_bias.len() + out_features, 0.0),
            }
            match &mut stacked {
                None => stacked = Some(weight),
                Some(stacked) => {
                    stacked.append(weight).map_err(|how| WeightsError::disagree(name, how))?
                }
            }
        }
        let stacked = stacked.ok_or_else(|| WeightsError::disagree("linear", "has no parts"))?;
        Ok(Self { weight: LinearWeight::new(stacked, &stacked_bias, columns, device) })
    }

    /// # Shapes
    ///
    /// `[rows, in_features]` to `[rows, out_features]`
    pub fn forward(&self, x: impl Into<Rows>, activation: Activation) -> Tensor<2> {
        ops::linear(x, &self.weight, activation)
    }
}

/// `torch.nn.LayerNorm` over the hidden size.
#[derive(Module, Debug)]
pub struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    epsilon: f64,
    #[module(skip)]
    next: Next,
}

impl LayerNorm {
    fn load(weights: &mut Weights, name: &str, epsilon: f64, device: &Device) -> Result<Self> {
        Ok(Self {
            weight: vector(weights, &format!("{name}.weight"), device)?,
            bias: vector(weights, &format!("{name}.bias"), device)?,
            epsilon,
            next: next(weights),
        })
    }

    fn forward(&self, x: Tensor<2>, residual: Option<&Rows>) -> Rows {
        let residual = residual.map(Rows::values);
        ops::layer_norm(x, residual, self.weight.val(), self.bias.val(), self.epsilon, self.next)
    }
}

/// Word, position and token type embeddings, summed and normalised.
///
/// [`BertEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L53)
#[derive(Module, Debug)]
pub struct BertEmbeddings {
    word_embeddings: Table,
    position_embeddings: Table,
    token_type_embeddings: Param<Tensor<2>>,
    layer_norm: LayerNorm,
}

impl BertEmbeddings {
    fn load(weights: &mut Weights, config: &BertConfig, device: &Device) -> Result<Self> {
        let mut table = |name: &str| {
            let (shape, values) = weights.take(name)?;
            Ok::<_, Error>(Table::new(shape, values, device))
        };
        let word_embeddings = table("embeddings.word_embeddings.weight")?;
        let position_embeddings = table("embeddings.position_embeddings.weight")?;
        let (shape, values) = weights.take_f32::<2>("embeddings.token_type_embeddings.weight")?;
        Ok(Self {
            word_embeddings,
            position_embeddings,
            token_type_embeddings: ops::floats(values, shape, device),
            layer_norm: LayerNorm::load(
                weights,
                "embeddings.LayerNorm",
                config.layer_norm_eps,
                device,
            )?,
        })
    }

    fn forward(&self, batch: &DeviceBatch) -> Rows {
        let embeddings = ops::embeddings(
            &self.word_embeddings,
            &self.position_embeddings,
            self.token_type_embeddings.val(),
            batch,
        );
        self.layer_norm.forward(embeddings, None)
    }
}

/// Every token looks at every token of its own text.
///
/// [`BertSelfAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L139)
#[derive(Module, Debug)]
pub struct BertSelfAttention {
    /// `query`, `key` and `value` as one layer.
    qkv: Linear,
    num_attention_heads: usize,
    #[module(skip)]
    next: Next,
}

impl BertSelfAttention {
    fn load(
        weights: &mut Weights,
        name: &str,
        config: &BertConfig,
        device: &Device,
    ) -> Result<Self> {
        let factor = ops::query_factor(config.attention_head_size(), device);
        let parts = [
            (&*format!("{name}.query"), factor),
            (&*format!("{name}.key"), 1.0),
            (&*format!("{name}.value"), 1.0),
        ];
        Ok(Self {
            qkv: Linear::load_stacked(weights, &parts, device)?,
            num_attention_heads: config.num_attention_heads,
            next: next(weights),
        })
    }

    fn forward(&self, hidden_states: Rows, batch: &DeviceBatch) -> Rows {
        let qkv = &self.qkv.weight;
        ops::self_attention(hidden_states, qkv, batch, self.num_attention_heads, self.next)
    }
}

/// A linear layer, the residual connection and layer normalisation: the end of both halves of a
/// layer.
///
/// [`BertSelfOutput`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L282)
/// and [`BertOutput`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L340),
/// which are the same.
#[derive(Module, Debug)]
pub struct BertOutput {
    dense: Linear,
    layer_norm: LayerNorm,
}

impl BertOutput {
    fn load(
        weights: &mut Weights,
        name: &str,
        config: &BertConfig,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            dense: Linear::load(weights, &format!("{name}.dense"), device)?,
            layer_norm: LayerNorm::load(
                weights,
                &format!("{name}.LayerNorm"),
                config.layer_norm_eps,
                device,
            )?,
        })
    }

    fn forward(&self, hidden_states: Rows, input: &Rows) -> Rows {
        let hidden_states = self.dense.forward(hidden_states, Activation::Identity);
        self.layer_norm.forward(hidden_states, Some(input))
    }
}

/// Self-attention and its output.
///
/// [`BertAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L296)
#[derive(Module, Debug)]
pub struct BertAttention {
    self_attention: BertSelfAttention,
    output: BertOutput,
}

impl BertAttention {
    fn forward(&self, hidden_states: Rows, batch: &DeviceBatch) -> Rows {
        let context = self.self_attention.forward(hidden_states.clone(), batch);
        self.output.forward(context, &hidden_states)
    }
}

/// Attention, then the feed-forward block.
///
/// [`BertLayer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L354);
/// `intermediate` is
/// [`BertIntermediate`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L325).
#[derive(Module, Debug)]
pub struct BertLayer {
    attention: BertAttention,
    intermediate: Linear,
    output: BertOutput,
}

impl BertLayer {
    fn load(
        weights: &mut Weights,
        name: &str,
        config: &BertConfig,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            attention: BertAttention {
                self_attention: BertSelfAttention::load(
                    weights,
                    &format!("{name}.attention.self"),
                    config,
                    device,
                )?,
                output: BertOutput::load(
                    weights,
                    &format!("{name}.attention.output"),
                    config,
                    device,
                )?,
            },
            intermediate: Linear::load(weights, &format!("{name}.intermediate.dense"), device)?,
            output: BertOutput::load(weights, &format!("{name}.output"), config, device)?,
        })
    }

    fn forward(&self, hidden_states: Rows, batch: &DeviceBatch) -> Rows {
        let attention_output = self.attention.forward(hidden_states, batch);
        let BertOutput { dense, layer_norm } = &self.output;
        let (intermediate, output) = (&self.intermediate.weight, &dense.weight);
        let hidden_states = ops::feed_forward(attention_output.clone(), intermediate, output);
        layer_norm.forward(hidden_states, Some(&attention_output))
    }
}

/// The `[CLS]` vector through a linear layer and tanh, as next-sentence prediction uses it.
///
/// [`BertPooler`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L451)
#[derive(Module, Debug)]
pub struct BertPooler {
    dense: Linear,
}

impl BertPooler {
    /// # Shapes
    ///
    /// `[texts, hidden_size]`, the vectors of `[CLS]`, to the same.
    pub fn forward(&self, first_tokens: Tensor<2>) -> Tensor<2> {
        self.dense.forward(first_tokens, Activation::Tanh)
    }
}

/// Token ids in, a vector per token out.
///
/// [`BertModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L594)
/// with its `BertEncoder` (the list of layers) inlined.
#[derive(Module, Debug)]
pub struct BertModel {
    embeddings: BertEmbeddings,
    encoder: Vec<BertLayer>,
    pooler: Option<BertPooler>,
    #[module(skip)]
    config: BertConfig,
}

impl BertModel {
    /// Builds the model from the weights that a [`embervec_weights::TensorReader`] with
    /// [`crate::keys::key_table`] has read.
    ///
    /// # Errors
    ///
    /// [`embervec_weights::Error::Tensor`] for a missing tensor.
    pub fn load(config: BertConfig, mut weights: Weights, device: &Device) -> Result<Self> {
        let weights = &mut weights;
        Ok(Self {
            embeddings: BertEmbeddings::load(weights, &config, device)?,
            encoder: (0..config.num_hidden_layers)
                .map(|layer| {
                    BertLayer::load(weights, &format!("encoder.layer.{layer}"), &config, device)
                })
                .collect::<Result<_>>()?,
            pooler: match weights.contains("pooler.dense.weight") {
                true => Some(BertPooler { dense: Linear::load(weights, "pooler.dense", device)? }),
                false => None,
            },
            config,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The last layer's vector of every token: `last_hidden_state`.
    ///
    /// # Shapes
    ///
    /// Returns `[batch.token_count(), hidden_size]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for an empty batch, ids outside the model's tables, or a text with
    /// more tokens than the model has positions.
    pub fn forward(&self, batch: &PackedBatch) -> Result<Tensor<2>> {
        Ok(self.encode(batch)?.1.values())
    }

    /// One vector for each text: its `last_hidden_state`, pooled.
    ///
    /// # Shapes
    ///
    /// Returns `[batch.len(), pooling.modes.len() * hidden_size]`.
    ///
    /// # Errors
    ///
    /// As [`BertModel::forward`].
    pub fn forward_pooled(
        &self,
        batch: &PackedBatch,
        pooling: &SentencePooling,
    ) -> Result<Tensor<2>> {
        let (batch, rows) = self.encode(batch)?;
        Ok(ops::pool(rows.values(), &batch, pooling))
    }

    fn encode(&self, batch: &PackedBatch) -> Result<(DeviceBatch, Rows)> {
        if batch.is_empty() {
            return Err(Error::InvalidInput("the batch holds no text".into()));
        }
        batch.check(&self.config)?;
        let batch = DeviceBatch::new(batch, &self.embeddings.token_type_embeddings.val().device());
        let embeddings = self.embeddings.forward(&batch);
        let rows = self
            .encoder
            .iter()
            .fold(embeddings, |hidden_states, layer| layer.forward(hidden_states, &batch));
        Ok((batch, rows))
    }

    /// The pooler, if the weights have one.
    pub fn pooler(&self) -> Option<&BertPooler> {
        self.pooler.as_ref()
    }

    /// Each text's `pooler_output`, or `None` for a model without a pooler.
    ///
    /// # Shapes
    ///
    /// - `last_hidden_state`: `[batch.token_count(), hidden_size]`
    /// - returns `[batch.len(), hidden_size]`
    pub fn pooler_output(
        &self,
        last_hidden_state: Tensor<2>,
        batch: &PackedBatch,
    ) -> Option<Tensor<2>> {
        let pooler = self.pooler.as_ref()?;
        let first_tokens = batch
            .ranges()
            .map(|text| last_hidden_state.clone().slice_dim(0, text.start..text.start + 1));
        Some(pooler.forward(Tensor::cat(first_tokens.collect(), 0)))
    }
}

/// What takes hidden states: linear layers, which all have weights of one kind.
fn next(weights: &Weights) -> Next {
    if weights.are_quantized() { Next::Q8 } else { Next::F32 }
}

fn vector(weights: &mut Weights, name: &str, device: &Device) -> Result<Param<Tensor<1>>> {
    let (shape, values) = weights.take_f32(name)?;
    Ok(ops::floats(values, shape, device))
}
