//! What an encoder is, whatever family its folder names.

use embervec_json::{Json, Object};
use embervec_kernels::Activation;

use crate::families::Family;
use crate::{Error, Result, config};

/// The shape of an encoder, and all that its computation depends on beside the weights.
///
/// Layers are those of BERT: attention and a feed-forward block, each with the residual connection and a layer
/// normalisation. What families do differently is a field here, never a branch on the family: a family is only where an
/// encoder's names come from.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderSpec {
    /// Whose names the tensors have.
    pub family: Family,
    /// Rows of the table of words.
    pub vocab_size: usize,
    /// Width of the embedding tables.
    pub embedding_size: usize,
    /// Whether a linear layer makes vectors of `hidden_size` of the embeddings.
    pub has_projection: bool,
    /// Where a text's tokens are.
    pub positions: Positions,
    /// Rows of the table of token types (sentence A, sentence B); 0 where there is none.
    pub type_vocab_size: usize,
    /// Width of a token's vector between the layers.
    pub hidden_size: usize,
    /// Number of groups of layers that a token passes through.
    pub num_hidden_layers: usize,
    /// Number of groups that have weights; fewer than `num_hidden_layers` where several share them.
    pub num_hidden_groups: usize,
    /// Number of layers in a group.
    pub inner_group_num: usize,
    /// Every layer's attention.
    pub attention: AttentionSpec,
    /// Every layer's feed-forward block.
    pub feed_forward: FeedForwardSpec,
    /// Every layer normalisation.
    pub layer_norm: NormSpec,
}

/// `torch.nn.LayerNorm`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether it has a bias.
    pub has_bias: bool,
    /// Whether it comes before attention and the feed-forward block, not behind their residual connection. Then the first
    /// layer's attention has none, and one more comes behind the last layer.
    pub is_before: bool,
    /// Whether what comes of attention is once more added to what it was given, and normalised.
    pub is_repeated: bool,
}

/// How many positions there are, and how a text's tokens are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positions {
    /// Rows of the table, where there is one; otherwise the tokens that a text is meant to have at most.
    pub rows: usize,
    /// Whether each position has an embedding of its own.
    pub has_table: bool,
    /// `None`: a text's tokens have the positions 0, 1, 2… Otherwise the id of the padding token: this token has its own id
    /// for its position, and all others are counted from the next number on.
    pub padding: Option<u32>,
}

/// Every token looks at every token of its own text, or in some layers at those near by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Number of heads; divides the hidden size.
    pub num_heads: usize,
    /// Rows of the table of what is added to a score by the distance of its tokens; 0 where there is none.
    pub relative_buckets: usize,
    /// Whether a score gets the less, the further its tokens are apart, by a slope of each head.
    pub has_alibi: bool,
    /// Rotary positions, where there are some.
    pub rotary: Option<RotarySpec>,
    /// What is different in some layers.
    pub local: Option<LocalAttention>,
    /// Whether a token's queries are normalised, those of all heads together, and its keys.
    pub has_qk_norm: bool,
    /// Whether its linear layers have biases.
    pub has_bias: bool,
}

/// Rotary positions: pair `i` of a head's values turns by `position / (theta^(2 i / head_size) * divisor)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotarySpec {
    /// The base, at least 1.
    pub theta: f64,
    /// What all angles are divided by: 1, but where positions are scaled for longer texts.
    pub divisor: f64,
}

/// Layers in which a token looks only at those near by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalAttention {
    /// The first of so many layers is not one of them.
    pub global_every: usize,
    /// How far a token sees, before and behind itself.
    pub reach: usize,
    /// Their rotary positions.
    pub rotary: RotarySpec,
}

/// `output(activation(intermediate(x)))`, or `output(activation(intermediate(x)) * gate(x))`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeedForwardSpec {
    /// Width of what is between the linear layers.
    pub intermediate_size: usize,
    /// What follows the first of them.
    pub activation: Activation,
    /// Whether there is a gate.
    pub has_gate: bool,
    /// Whether what is before the activation and the gate have biases.
    pub has_bias: bool,
    /// Whether the last layer has one.
    pub has_output_bias: bool,
}

/// [`EncoderSpec::linear_weights`] of BERT-base: 12 layers of 768 · (4 · 768 + 2 · 3072).
pub const BERT_BASE_WEIGHTS: u64 = 84_934_656;

impl AttentionSpec {
    /// As in BERT.
    pub(crate) fn of_bert(num_heads: usize) -> Self {
        Self {
            num_heads,
            relative_buckets: 0,
            has_alibi: false,
            rotary: None,
            local: None,
            has_qk_norm: false,
            has_bias: true,
        }
    }

    /// What a layer's attention has of its own, by its place among those that a token passes through.
    pub(crate) fn local_at(&self, layer: usize) -> Option<LocalAttention> {
        self.local.filter(|local| !layer.is_multiple_of(local.global_every))
    }
}

impl RotarySpec {
    /// With this base.
    pub(crate) fn of(theta: f64) -> Self {
        Self { theta, divisor: 1.0 }
    }
}

impl NormSpec {
    /// As in BERT.
    pub(crate) fn of_bert(epsilon: f64) -> Self {
        Self { epsilon, has_bias: true, is_before: false, is_repeated: false }
    }
}

impl FeedForwardSpec {
    /// As in BERT.
    pub(crate) fn of_bert(intermediate_size: usize, activation: Activation) -> Self {
        Self {
            intermediate_size,
            activation,
            has_gate: false,
            has_bias: true,
            has_output_bias: true,
        }
    }
}

impl Positions {
    /// A table of so many rows, whose first is the first token's.
    pub fn table(rows: usize) -> Self {
        Self { rows, has_table: true, padding: None }
    }

    /// The row of the table for each token of a text; the first, where there is no table.
    pub fn ids(self, input_ids: &[u32]) -> impl Iterator<Item = u32> {
        let mut next = self.first();
        input_ids.iter().map(move |&id| {
            if !self.has_table {
                return 0;
            }
            if Some(id) == self.padding {
                return id;
            }
            next += 1;
            next - 1
        })
    }

    /// How many tokens a text may have, or is meant to have where there is no table.
    pub fn limit(self) -> usize {
        self.rows.saturating_sub(self.first() as usize)
    }

    fn first(self) -> u32 {
        self.padding.map_or(0, |id| id + 1)
    }
}

impl EncoderSpec {
    /// Reads and validates the bytes of a `config.json`; `file` is its path, for messages.
    ///
    /// # Errors
    ///
    /// As [`EncoderSpec::from_config`], and [`Error::InvalidConfig`] if it is not a JSON object.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        let invalid = |problem: String| Error::InvalidConfig { file: file.into(), problem };
        let json = Json::parse(json).map_err(|error| invalid(error.to_string()))?;
        let object =
            json.as_object().ok_or_else(|| invalid(format!("is {json}, but must be an object")))?;
        Self::from_config(file, &config::config_object(object))
    }

    /// Validates the entries of a `config.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for another architecture or activation, [`Error::InvalidConfig`] for values that
    /// transformers refuses and for impossible sizes.
    pub fn from_config(file: &str, object: &Object) -> Result<Self> {
        config::read(file, object)
    }

    /// Weights of the layers' matrices, by which the work for a token grows.
    pub fn linear_weights(&self) -> u64 {
        let [layers, inner, hidden, intermediate] = [
            self.num_hidden_layers,
            self.inner_group_num,
            self.hidden_size,
            self.feed_forward.intermediate_size,
        ]
        .map(|n| n as u64);
        let matrices = if self.feed_forward.has_gate { 3 } else { 2 };
        // At most 2^10 layers, in groups or not, of 2^22 · (4 + 3) · 2^22.
        layers * inner * hidden * (4 * hidden + matrices * intermediate)
    }

    /// Width of one attention head.
    pub fn attention_head_size(&self) -> usize {
        self.hidden_size / self.attention.num_heads
    }

    /// The layers that a token passes through, by their number among those that have weights.
    ///
    /// Groups are shared as in
    /// [`AlbertTransformer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L278).
    pub(crate) fn layer_order(&self) -> Vec<usize> {
        let (layers, inner) = (self.num_hidden_layers, self.inner_group_num);
        // In floats, as there.
        let per_group = layers as f64 / self.num_hidden_groups as f64;
        let groups = (0..layers).map(|i| (i as f64 / per_group) as usize);
        groups.flat_map(|group| group * inner..(group + 1) * inner).collect()
    }

    /// Whether a text's tokens are all in the model's tables; else what is wrong with the text.
    ///
    /// # Errors
    ///
    /// A sentence's end, such as "has 513 tokens, but the model has 512 positions".
    pub fn check_text(
        &self,
        input_ids: &[u32],
        token_type_ids: &[u32],
    ) -> std::result::Result<(), String> {
        let Self { positions, vocab_size, type_vocab_size, .. } = *self;
        if input_ids.is_empty() {
            return Err("has no tokens, and the tokenizer adds none".into());
        }
        if positions.has_table
            && input_ids.len() > positions.limit()
            && positions.ids(input_ids).any(|position| position as usize >= positions.rows)
        {
            let (tokens, limit) = (input_ids.len(), positions.limit());
            return Err(format!("has {tokens} tokens, but the model has {limit} positions"));
        }
        if let Some(id) = input_ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(format!(
                "has the token id {id}, but the model's vocab_size is {vocab_size}"
            ));
        }
        // A model without token types is not told of them.
        if let Some(id) = token_type_ids.iter().find(|&&id| id as usize >= type_vocab_size)
            && type_vocab_size > 0
        {
            return Err(format!(
                "has the token type {id}, but the model's type_vocab_size is {type_vocab_size}"
            ));
        }
        Ok(())
    }

    /// As a line of numbers that [`EncoderSpec::from_line`] reads: for another wasm module, which then needs no reader of
    /// every family's `config.json`.
    pub fn to_line(&self) -> String {
        self.numbers().map(|number| number.to_string()).join(" ")
    }

    /// Reads what [`EncoderSpec::to_line`] has written.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for anything else.
    pub fn from_line(line: &str) -> Result<Self> {
        let numbers = line.split(' ').map_while(|number| number.parse().ok());
        let spec = numbers.collect::<Vec<u64>>().try_into().ok().and_then(Self::from_numbers);
        spec.ok_or_else(|| Error::InvalidInput(format!("\"{line}\" is not an encoder")))
    }

    fn numbers(&self) -> [u64; NUMBERS] {
        let code = |activation| ACTIVATIONS.iter().position(|known| *known == activation);
        let Positions { rows, has_table, padding } = self.positions;
        let flag = usize::from;
        let sizes = [
            self.family as usize,
            self.vocab_size,
            self.embedding_size,
            flag(self.has_projection),
            rows,
            padding.map_or(0, |id| id as usize + 1),
            self.type_vocab_size,
            self.hidden_size,
            self.num_hidden_layers,
            self.num_hidden_groups,
            self.inner_group_num,
            self.attention.num_heads,
            self.feed_forward.intermediate_size,
            code(self.feed_forward.activation).unwrap_or(ACTIVATIONS.len()),
            self.attention.relative_buckets,
            flag(has_table),
            flag(self.attention.has_bias),
            flag(self.feed_forward.has_gate),
            flag(self.feed_forward.has_bias),
            flag(self.feed_forward.has_output_bias),
            flag(self.layer_norm.has_bias),
            flag(self.layer_norm.is_before),
            self.attention.local.map_or(0, |local| local.global_every),
            self.attention.local.map_or(0, |local| local.reach),
            flag(self.attention.has_alibi),
            flag(self.attention.has_qk_norm),
            flag(self.layer_norm.is_repeated),
        ];
        // A base is at least 1.
        let none = RotarySpec { theta: 0.0, divisor: 0.0 };
        let rotary = self.attention.rotary.unwrap_or(none);
        let local = self.attention.local.map_or(none, |local| local.rotary);
        let floats =
            [rotary.theta, rotary.divisor, local.theta, local.divisor, self.layer_norm.epsilon];
        let mut numbers = [0; NUMBERS];
        let (first, last) = numbers.split_at_mut(sizes.len());
        first.copy_from_slice(&sizes.map(|size| size as u64));
        last.copy_from_slice(&floats.map(f64::to_bits));
        numbers
    }

    fn from_numbers(numbers: [u64; NUMBERS]) -> Option<Self> {
        let sizes = numbers.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let [.., theta, divisor, local_theta, local_divisor, epsilon] = numbers.map(f64::from_bits);
        let rotary = |theta, divisor| (theta != 0.0).then_some(RotarySpec { theta, divisor });
        Some(Self {
            family: *Family::ALL.get(sizes[0])?,
            vocab_size: sizes[1],
            embedding_size: sizes[2],
            has_projection: sizes[3] != 0,
            positions: Positions {
                rows: sizes[4],
                has_table: sizes[15] != 0,
                padding: u32::try_from(numbers[5]).ok()?.checked_sub(1),
            },
            type_vocab_size: sizes[6],
            hidden_size: sizes[7],
            num_hidden_layers: sizes[8],
            num_hidden_groups: sizes[9],
            inner_group_num: sizes[10],
            attention: AttentionSpec {
                num_heads: sizes[11],
                relative_buckets: sizes[14],
                has_alibi: sizes[24] != 0,
                rotary: rotary(theta, divisor),
                local: rotary(local_theta, local_divisor).map(|rotary| LocalAttention {
                    global_every: sizes[22],
                    reach: sizes[23],
                    rotary,
                }),
                has_qk_norm: sizes[25] != 0,
                has_bias: sizes[16] != 0,
            },
            feed_forward: FeedForwardSpec {
                intermediate_size: sizes[12],
                activation: *ACTIVATIONS.get(sizes[13])?,
                has_gate: sizes[17] != 0,
                has_bias: sizes[18] != 0,
                has_output_bias: sizes[19] != 0,
            },
            layer_norm: NormSpec {
                epsilon,
                has_bias: sizes[20] != 0,
                is_before: sizes[21] != 0,
                is_repeated: sizes[26] != 0,
            },
        })
    }
}

const NUMBERS: usize = 32;

/// What a feed-forward block may have, by its number in [`EncoderSpec::to_line`].
const ACTIVATIONS: [Activation; 4] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> EncoderSpec {
        EncoderSpec::from_json("config.json", json.as_bytes()).expect("valid")
    }

    #[test]
    fn what_is_written_is_read() {
        let spec = parse(r#"{"model_type": "bert", "layer_norm_eps": 1e-5, "vocab_size": 7}"#);
        assert_eq!(EncoderSpec::from_line(&spec.to_line()).expect("an encoder"), spec);
        let other = parse(r#"{"model_type": "nomic_bert", "rope_theta": 1234.5}"#);
        assert_eq!(EncoderSpec::from_line(&other.to_line()).expect("an encoder"), other);
        let scaled = parse(
            r#"{"model_type": "new", "rope_scaling": {"type": "ntk", "factor": 8.0}, "rope_theta": 20000}"#,
        );
        assert_eq!(EncoderSpec::from_line(&scaled.to_line()).expect("an encoder"), scaled);
        let local = parse(r#"{"model_type": "modernbert", "local_attention": 7}"#);
        assert_eq!(EncoderSpec::from_line(&local.to_line()).expect("an encoder"), local);
        let sloped = parse(
            r#"{"model_type": "bert", "position_embedding_type": "alibi", "feed_forward_type": "geglu"}"#,
        );
        assert_eq!(EncoderSpec::from_line(&sloped.to_line()).expect("an encoder"), sloped);
        let normalised = EncoderSpec {
            attention: AttentionSpec { has_qk_norm: true, ..sloped.attention },
            layer_norm: NormSpec { is_repeated: true, ..sloped.layer_norm },
            ..sloped
        };
        assert_eq!(EncoderSpec::from_line(&normalised.to_line()).expect("an encoder"), normalised);
        for line in ["", "1 2 3", "{}", &spec.to_line().replace(' ', "  ")] {
            EncoderSpec::from_line(line).expect_err("not an encoder");
        }
    }

    #[test]
    fn base_and_large_have_the_weights_of_their_shapes() {
        let weights = |layers: u64, hidden: u64| {
            let json = format!(
                r#"{{"model_type": "bert", "num_hidden_layers": {layers}, "hidden_size": {hidden},
                    "num_attention_heads": 4, "intermediate_size": {}}}"#,
                4 * hidden
            );
            parse(&json).linear_weights()
        };
        assert_eq!(weights(12, 768), BERT_BASE_WEIGHTS);
        assert_eq!(weights(24, 1024), 24 * 12 * 1024 * 1024);
        assert_eq!(weights(6, 384), 10_616_832);
        // Of the largest that is accepted.
        assert_eq!(weights(1 << 10, 1 << 20), (12 << 10) << 40);
    }

    #[test]
    fn positions_are_counted_from_zero_or_after_the_padding_token() {
        let ids = |padding, ids: &[u32]| {
            Positions { padding, ..Positions::table(8) }.ids(ids).collect::<Vec<_>>()
        };
        assert_eq!(ids(None, &[5, 1, 5]), [0, 1, 2]);
        assert_eq!(ids(Some(1), &[0, 5, 2]), [2, 3, 4]);
        // The padding token is not counted.
        assert_eq!(ids(Some(1), &[0, 1, 1, 5]), [2, 1, 1, 3]);
        assert_eq!(Positions { padding: Some(1), ..Positions::table(514) }.limit(), 512);
        assert_eq!(Positions::table(512).limit(), 512);
        let without = Positions { has_table: false, ..Positions::table(8) };
        assert_eq!(without.ids(&[5, 1, 5]).collect::<Vec<_>>(), [0, 0, 0]);
    }

    #[test]
    fn layers_may_share_their_weights() {
        let order = |layers, groups, inner| {
            let spec = parse(r#"{"model_type": "bert"}"#);
            let shape = EncoderSpec {
                num_hidden_layers: layers,
                num_hidden_groups: groups,
                inner_group_num: inner,
                ..spec
            };
            shape.layer_order()
        };
        assert_eq!(order(3, 3, 1), [0, 1, 2]);
        assert_eq!(order(3, 1, 1), [0, 0, 0]);
        assert_eq!(order(5, 2, 1), [0, 0, 0, 1, 1]);
        assert_eq!(order(3, 2, 2), [0, 1, 0, 1, 2, 3]);
    }
}
