//! The encoder of every family: an [`EncoderSpec`] says what it computes. `families/` links the Hugging Face class of
//! each part.
//!
//! Dropout is left out everywhere: it does nothing outside training.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use embervec_weights::{Error as WeightsError, Values, Weights};

use crate::families::mpnet;
use crate::names::{EncoderNames, LayerNames};
use crate::ops::{
    self, Activation, AttentionShape, AttentionTensors, DeviceBatch, LinearWeight, Next, Rows,
    Table,
};
use crate::{EncoderSpec, Error, PackedBatch, Result, RotarySpec, SentencePooling, alibi, rotary};

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

/// `torch.nn.LayerNorm` over the hidden size, with or without a bias.
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
        let ([size], weight) = weights.take_f32(&format!("{name}.weight"))?;
        let bias = format!("{name}.bias");
        let bias = match weights.contains(&bias) {
            true => weights.take_f32::<1>(&bias)?.1,
            false => vec![0.0; size],
        };
        Ok(Self {
            weight: ops::floats(weight, [size], device),
            bias: ops::floats(bias, [size], device),
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
#[derive(Module, Debug)]
struct Embeddings {
    words: Table,
    positions: Table,
    token_types: Param<Tensor<2>>,
    layer_norm: LayerNorm,
}

impl Embeddings {
    fn load(
        weights: &mut Weights,
        names: &EncoderNames,
        spec: &EncoderSpec,
        device: &Device,
    ) -> Result<Self> {
        let mut table = |name: &str| {
            let (shape, values) = weights.take(&format!("{name}.weight"))?;
            Ok::<_, Error>(Table::new(shape, values, device))
        };
        let words = table(&names.word_embeddings)?;
        let positions = match &names.position_embeddings {
            Some(name) => table(name)?,
            // One that adds nothing.
            None => {
                let nothing = Values::F32(vec![0.0; spec.embedding_size]);
                Table::new([1, spec.embedding_size], nothing, device)
            }
        };
        let (shape, values) = match &names.token_type_embeddings {
            Some(name) => weights.take_f32::<2>(&format!("{name}.weight"))?,
            // One that adds nothing.
            None => ([1, spec.embedding_size], vec![0.0; spec.embedding_size]),
        };
        let epsilon = spec.layer_norm.epsilon;
        Ok(Self {
            words,
            positions,
            token_types: ops::floats(values, shape, device),
            layer_norm: LayerNorm::load(weights, &names.embeddings_norm, epsilon, device)?,
        })
    }

    fn forward(&self, batch: &DeviceBatch) -> Rows {
        let embeddings =
            ops::embeddings(&self.words, &self.positions, self.token_types.val(), batch);
        self.layer_norm.forward(embeddings, None)
    }
}

/// Attention, then the feed-forward block, each with the residual connection and a layer normalisation, which stands behind that
/// or before the block.
#[derive(Module, Debug)]
struct Layer {
    /// Queries, keys and values as one layer.
    qkv: Linear,
    /// `[4, hidden_size]`: weight and bias of the queries' normalisation, then of the keys'.
    qk_norm: Option<Param<Tensor<2>>>,
    attention_output: Linear,
    attention_norm: Option<LayerNorm>,
    repeated_norm: Option<LayerNorm>,
    intermediate: Linear,
    gate: Option<Linear>,
    output: Linear,
    output_norm: LayerNorm,
    #[module(skip)]
    next: Next,
}

impl Layer {
    fn load(
        weights: &mut Weights,
        names: &LayerNames<String>,
        spec: &EncoderSpec,
        device: &Device,
    ) -> Result<Self> {
        let factor = ops::query_factor(spec.attention_head_size(), device);
        let epsilon = spec.layer_norm.epsilon;
        let (of_queries, of_norm) = match spec.attention.has_qk_norm {
            // What comes behind the queries is multiplied instead.
            true => (1.0, factor),
            false => (factor, 1.0),
        };
        let parts = [(&*names.query, of_queries), (&*names.key, 1.0), (&*names.value, 1.0)];
        let mut norm = |name: &str| match name {
            "" => Ok::<_, Error>(None),
            name => Ok(Some(LayerNorm::load(weights, name, epsilon, device)?)),
        };
        let (attention_norm, repeated_norm) =
            (norm(&names.attention_norm)?, norm(&names.repeated_norm)?);
        let qk_norm = match &*names.query_norm {
            "" => None,
            query => {
                let mut params = Vec::new();
                for (name, factor) in [(query, of_norm), (&*names.key_norm, 1.0)] {
                    for part in ["weight", "bias"] {
                        let ([_], values) = weights.take_f32(&format!("{name}.{part}"))?;
                        params.extend(values.iter().map(|x| x * factor));
                    }
                }
                Some(ops::floats(params, [4, spec.hidden_size], device))
            }
        };
        Ok(Self {
            qkv: Linear::load_stacked(weights, &parts, device)?,
            qk_norm,
            attention_output: Linear::load(weights, &names.attention_output, device)?,
            attention_norm,
            repeated_norm,
            intermediate: Linear::load(weights, &names.intermediate, device)?,
            gate: match spec.feed_forward.has_gate {
                true => Some(Linear::load(weights, &names.gate, device)?),
                false => None,
            },
            output: Linear::load(weights, &names.output, device)?,
            output_norm: LayerNorm::load(weights, &names.output_norm, epsilon, device)?,
            next: next(weights),
        })
    }

    fn forward(
        &self,
        hidden_states: Rows,
        batch: &DeviceBatch,
        window: Option<usize>,
        rotary: Option<Tensor<2>>,
        bias: Option<Tensor<2>>,
        spec: &EncoderSpec,
    ) -> Rows {
        let is_before = spec.layer_norm.is_before;
        let before = |norm: Option<&LayerNorm>, x: &Rows| match norm {
            Some(norm) if is_before => norm.forward(x.values(), None),
            _ => x.clone(),
        };
        let behind = |norm: Option<&LayerNorm>, x: &Rows, block: Tensor<2>| match norm {
            Some(norm) if !is_before => norm.forward(block, Some(x)),
            _ => ops::add(block, x.values()).into(),
        };
        let attention_norm = self.attention_norm.as_ref();
        let epsilon = spec.layer_norm.epsilon;
        let output_norm = Some(&self.output_norm);
        let context = ops::self_attention(
            before(attention_norm, &hidden_states),
            &self.qkv.weight,
            batch,
            AttentionShape { num_heads: spec.attention.num_heads, window, epsilon },
            AttentionTensors {
                qk_norm: self.qk_norm.as_ref().map(|norm| norm.val()),
                rotary,
                bias,
            },
            self.next,
        );
        let attention = self.attention_output.forward(context, Activation::Identity);
        let mut attention = behind(attention_norm, &hidden_states, attention);
        if let Some(norm) = &self.repeated_norm {
            attention = norm.forward(attention.values(), Some(&hidden_states));
        }
        drop(hidden_states);
        let wide = ops::feed_forward(
            before(output_norm, &attention),
            &self.intermediate.weight,
            self.gate.as_ref().map(|gate| &gate.weight),
            &self.output.weight,
            spec.feed_forward.activation,
        );
        behind(output_norm, &attention, wide)
    }
}

/// Token ids in, a vector per token out.
#[derive(Module, Debug)]
pub struct Encoder {
    embeddings: Embeddings,
    projection: Option<Linear>,
    /// What every layer's attention adds to its scores, by the distance of their tokens.
    relative_bias: Option<Param<Tensor<2>>>,
    layers: Vec<Layer>,
    /// Behind the last layer.
    final_norm: Option<LayerNorm>,
    pooler: Option<Pooler>,
    #[module(skip)]
    spec: EncoderSpec,
}

/// The first token's vector through a linear layer and tanh.
#[derive(Module, Debug)]
pub struct Pooler {
    dense: Linear,
}

impl Pooler {
    /// # Shapes
    ///
    /// `[texts, hidden_size]`, the vectors of the first tokens, to the same.
    pub fn forward(&self, first_tokens: Tensor<2>) -> Tensor<2> {
        self.dense.forward(first_tokens, Activation::Tanh)
    }
}

impl Encoder {
    /// Builds the model from the weights that a [`embervec_weights::TensorReader`] with [`EncoderSpec::key_table`] has read.
    ///
    /// # Errors
    ///
    /// [`embervec_weights::Error::Tensor`] for a missing tensor.
    pub(crate) fn load(
        spec: EncoderSpec,
        names: &EncoderNames,
        mut weights: Weights,
        device: &Device,
    ) -> Result<Self> {
        let weights = &mut weights;
        let embeddings = Embeddings::load(weights, names, &spec, device)?;
        let projection = match &names.projection {
            Some(name) => Some(Linear::load(weights, name, device)?),
            None => None,
        };
        let layers = names.layers.iter().map(|names| Layer::load(weights, names, &spec, device));
        let layers = layers.collect::<Result<_>>()?;
        let relative_bias = match &names.relative_bias {
            Some(name) => {
                let ([_, heads], table) = weights.take_f32::<2>(&format!("{name}.weight"))?;
                let reach = mpnet::REACH as isize;
                let of_head = |head: usize| {
                    let row = move |distance| mpnet::bucket(distance) * heads + head;
                    (-reach..=reach).map(row)
                };
                let values = (0..heads).flat_map(of_head).map(|at| table[at]).collect();
                Some(ops::floats(values, [heads, 2 * mpnet::REACH + 1], device))
            }
            None => None,
        };
        let pooler = match &names.pooler {
            Some(name) if weights.contains(&format!("{name}.weight")) => {
                Some(Pooler { dense: Linear::load(weights, name, device)? })
            }
            _ => None,
        };
        let final_norm = match &names.final_norm {
            Some(name) => Some(LayerNorm::load(weights, name, spec.layer_norm.epsilon, device)?),
            None => None,
        };
        Ok(Self { embeddings, projection, relative_bias, layers, final_norm, pooler, spec })
    }

    /// The model's shape.
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
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
    /// As [`Encoder::forward`].
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
        batch.check(&self.spec)?;
        let batch = batch.of_model(self.spec.positions, self.spec.type_vocab_size > 0);
        let device = self.embeddings.token_types.val().device();
        let attention = self.spec.attention;
        let longest = batch.ranges().map(|text| text.len()).max().unwrap_or(1);
        let rotary = |rotary: Option<RotarySpec>| {
            Some(rotary::table(rotary?, self.spec.attention_head_size(), longest, &device))
        };
        let global = rotary(attention.rotary);
        let nearby = rotary(attention.local.map(|local| local.rotary));
        let sloped =
            attention.has_alibi.then(|| alibi::table(attention.num_heads, longest - 1, &device));
        let batch = DeviceBatch::new(batch, &device);
        let mut rows = self.embeddings.forward(&batch);
        if let Some(projection) = &self.projection {
            rows = projection.forward(rows, Activation::Identity).into();
        }
        for (place, layer) in self.spec.layer_order().into_iter().enumerate() {
            let bias =
                self.relative_bias.as_ref().map(|bias| bias.val()).or_else(|| sloped.clone());
            let (window, rotary) = match attention.local_at(place) {
                Some(local) => (Some(local.reach), &nearby),
                None => (None, &global),
            };
            let layer = &self.layers[layer];
            rows = layer.forward(rows, &batch, window, rotary.clone(), bias, &self.spec);
        }
        if let Some(norm) = &self.final_norm {
            rows = norm.forward(rows.values(), None);
        }
        Ok((batch, rows))
    }

    /// The pooler, if the weights have one.
    pub fn pooler(&self) -> Option<&Pooler> {
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
