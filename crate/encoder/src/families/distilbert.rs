//! DistilBERT (Sanh et al., <https://arxiv.org/abs/1910.01108>): BERT without token types, with other names.

use embervec_kernels::Activation;

use super::{Family, bert};
use crate::config::{Fields, Type};
use crate::names::{LayerNames, Names};
use crate::spec::{AttentionSpec, FeedForwardSpec, NormSpec, Positions};
use crate::{EncoderSpec, Result};

/// [`DistilBertConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/configuration_distilbert.py#L24)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    // Its own names, and those of its `attribute_map`, which must not say anything else.
    let hidden_size = fields.aliased("dim", "hidden_size", Fields::dimension, 768)?;
    let num_hidden_layers = fields.aliased("n_layers", "num_hidden_layers", Fields::layers, 6)?;
    let num_heads = fields.aliased("n_heads", "num_attention_heads", Fields::dimension, 12)?;
    let spec = EncoderSpec {
        family: Family::DistilBert,
        vocab_size: fields.dimension("vocab_size", 30522)?,
        embedding_size: hidden_size,
        has_projection: false,
        positions: Positions::table(fields.dimension("max_position_embeddings", 512)?),
        type_vocab_size: 0,
        hidden_size,
        num_hidden_layers,
        num_hidden_groups: num_hidden_layers,
        inner_group_num: 1,
        attention: AttentionSpec::of_bert(num_heads),
        feed_forward: FeedForwardSpec::of_bert(
            fields.dimension("hidden_dim", 3072)?,
            fields.activation("activation", Activation::Gelu)?,
        ),
        // Not in the configuration.
        layer_norm: NormSpec::of_bert(1e-12),
    };
    fields.check_types(&[
        // What the table of positions is filled with where a file has none.
        ("sinusoidal_pos_embds", Type::Bool),
        ("dropout", Type::Number),
        ("attention_dropout", Type::Number),
        ("qa_dropout", Type::Number),
        ("seq_classif_dropout", Type::Number),
    ])?;
    fields.check_share("dropout")?;
    fields.check_share("attention_dropout")?;
    Ok(spec)
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`DistilBertPreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py#L288)
    prefix: "distilbert.",
    // [`Transformer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py#L261)
    layer: |layer, _| format!("transformer.layer.{layer}"),
    layer_parts: LayerNames {
        // [`DistilBertSelfAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py#L149)
        query: "attention.q_lin",
        key: "attention.k_lin",
        value: "attention.v_lin",
        attention_output: "attention.out_lin",
        // [`TransformerBlock`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py#L226)
        attention_norm: "sa_layer_norm",
        // [`FFN`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py#L205)
        intermediate: "ffn.lin1",
        output: "ffn.lin2",
        output_norm: "output_layer_norm",
        ..bert::NAMES.layer_parts
    },
    pooler: "",
    // [`Embeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py#L81)
    ..bert::NAMES
};
