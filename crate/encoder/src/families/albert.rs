//! ALBERT (Lan et al., <https://arxiv.org/abs/1909.11942>): BERT with narrow embeddings, and layers that share their weights.

use embervec_kernels::Activation;
use embervec_weights::limits::MAX_LAYERS;

use super::{Family, bert};
use crate::config::{Fields, Type};
use crate::names::{LayerNames, Names};
use crate::{EncoderSpec, Result};

/// [`AlbertConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/configuration_albert.py#L25)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let mut spec = bert::read_as(fields, Family::Albert, [30000, 4096, 12, 64, 16384])?;
    spec.embedding_size = fields.dimension("embedding_size", 128)?;
    spec.has_projection = true;
    spec.num_hidden_groups = fields.layers("num_hidden_groups", 1)?;
    spec.inner_group_num = fields.layers("inner_group_num", 1)?;
    spec.feed_forward.activation = fields.activation("hidden_act", Activation::GeluTanh)?;
    let layers = spec.num_hidden_layers.max(spec.num_hidden_groups) * spec.inner_group_num;
    if layers > MAX_LAYERS {
        let inner = spec.inner_group_num;
        return fields.invalid(format!(
            "inner_group_num {inner} makes {layers} layers, but there can be at most {MAX_LAYERS}"
        ));
    }
    fields.check_types(&[("classifier_dropout_prob", Type::Number)])?;
    Ok(spec)
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`AlbertPreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L290)
    prefix: "albert.",
    // [`AlbertTransformer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L258)
    projection: "encoder.embedding_hidden_mapping_in",
    // [`AlbertLayerGroup`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L241)
    layer: |group, inner| format!("encoder.albert_layer_groups.{group}.albert_layers.{inner}"),
    layer_parts: LayerNames {
        // [`AlbertAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L138)
        query: "attention.query",
        key: "attention.key",
        value: "attention.value",
        attention_output: "attention.dense",
        attention_norm: "attention.LayerNorm",
        // [`AlbertLayer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L203)
        intermediate: "ffn",
        output: "ffn_output",
        output_norm: "full_layer_layer_norm",
        ..bert::NAMES.layer_parts
    },
    // [`AlbertModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L337)
    pooler: "pooler",
    // [`AlbertEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/modeling_albert.py#L49)
    ..bert::NAMES
};
