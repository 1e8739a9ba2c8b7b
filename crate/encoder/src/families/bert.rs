//! BERT (Devlin et al., <https://arxiv.org/abs/1810.04805>).

use embervec_kernels::Activation;

use super::Family;
use crate::config::Fields;
use crate::names::{LayerNames, Names};
use crate::spec::{AttentionSpec, FeedForwardSpec, NormSpec, Positions};
use crate::{EncoderSpec, Result};

/// [`BertConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/configuration_bert.py)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    read_as(fields, Family::Bert, [30522, 768, 12, 12, 3072])
}

/// With a family's own defaults of `vocab_size`, `hidden_size`, `num_hidden_layers`, `num_attention_heads` and
/// `intermediate_size`.
pub(super) fn read_as(fields: &Fields, family: Family, sizes: [usize; 5]) -> Result<EncoderSpec> {
    let mut spec = read_without_types(fields, family, sizes)?;
    spec.type_vocab_size = fields.dimension("type_vocab_size", 2)?;
    Ok(spec)
}

/// The same without token types.
pub(super) fn read_without_types(
    fields: &Fields,
    family: Family,
    sizes: [usize; 5],
) -> Result<EncoderSpec> {
    let activation = fields.activation("hidden_act", Activation::Gelu)?;
    let norm = NormSpec::of_bert(fields.epsilon("layer_norm_eps", 1e-12)?);
    read_sizes(fields, family, sizes, activation, norm)
}

/// The sizes alone.
pub(super) fn read_sizes(
    fields: &Fields,
    family: Family,
    [words, hidden, layers, heads, intermediate]: [usize; 5],
    activation: Activation,
    layer_norm: NormSpec,
) -> Result<EncoderSpec> {
    let hidden_size = fields.dimension("hidden_size", hidden)?;
    let num_hidden_layers = fields.layers("num_hidden_layers", layers)?;
    Ok(EncoderSpec {
        family,
        vocab_size: fields.dimension("vocab_size", words)?,
        embedding_size: hidden_size,
        has_projection: false,
        positions: Positions::table(fields.dimension("max_position_embeddings", 512)?),
        type_vocab_size: 0,
        hidden_size,
        num_hidden_layers,
        num_hidden_groups: num_hidden_layers,
        inner_group_num: 1,
        attention: AttentionSpec::of_bert(fields.dimension("num_attention_heads", heads)?),
        feed_forward: FeedForwardSpec::of_bert(
            fields.dimension("intermediate_size", intermediate)?,
            activation,
        ),
        layer_norm,
    })
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`BertPreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L534)
    prefix: "bert.",
    renames: &[],
    // [`BertEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L53)
    word_embeddings: "embeddings.word_embeddings",
    position_embeddings: "embeddings.position_embeddings",
    token_type_embeddings: "embeddings.token_type_embeddings",
    embeddings_norm: "embeddings.LayerNorm",
    projection: "",
    // [`BertEncoder`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L419)
    layer: |layer, _| format!("encoder.layer.{layer}"),
    layer_parts: LayerNames {
        // [`BertSelfAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L139)
        query: "attention.self.query",
        key: "attention.self.key",
        value: "attention.self.value",
        // [`BertSelfOutput`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L282)
        attention_output: "attention.output.dense",
        attention_norm: "attention.output.LayerNorm",
        // [`BertIntermediate`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L325)
        intermediate: "intermediate.dense",
        gate: "",
        query_norm: "",
        key_norm: "",
        repeated_norm: "",
        // [`BertOutput`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L340)
        output: "output.dense",
        output_norm: "output.LayerNorm",
    },
    qkv: "",
    up_gate: "",
    gate_up: "",
    relative_bias: "",
    final_norm: "",
    // [`BertPooler`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py#L451)
    pooler: "pooler.dense",
};
