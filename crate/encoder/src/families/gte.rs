//! GTE (Zhang et al., <https://arxiv.org/abs/2407.19669>): BERT with rotary positions and a gate in its feed-forward blocks.

use embervec_json::Json;

use super::{Family, bert, nomic_bert};
use crate::config::Fields;
use crate::names::Names;
use crate::{EncoderSpec, FeedForwardSpec, Result, RotarySpec};

/// [`GteConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/gte/configuration_gte.py#L31)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let sizes = [250_048, 768, 12, 12, 3072];
    let mut spec = bert::read_without_types(fields, Family::Gte, sizes)?;
    if fields.get("type_vocab_size") != Some(&Json::Int(0)) {
        spec.type_vocab_size = fields.dimension("type_vocab_size", 1)?;
    }
    fields.rotary(&mut spec, 8192, RotarySpec::of(fields.one_rotary_theta(160_000.0)?))?;
    spec.feed_forward = FeedForwardSpec { has_gate: true, has_bias: false, ..spec.feed_forward };
    Ok(spec)
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`GtePreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/gte/modeling_gte.py#L318)
    prefix: "gte.",
    // [`_build_checkpoint_conversion_mapping`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/conversion_mapping.py#L1676)
    renames: &[
        ("new.", ""),
        ("encoder.layer.", "layers."),
        ("attention.o_proj", "self_attn.o_proj"),
        ("attn_ln", "post_attention_layernorm"),
        ("mlp_ln", "post_mlp_layernorm"),
    ],
    qkv: "attention.qkv_proj",
    up_gate: "mlp.up_gate_proj",
    // [`GteLayer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/gte/modeling_gte.py#L267)
    // and its parts, [`GteEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/gte/modeling_gte.py#L46)
    // and [`GtePooler`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/gte/modeling_gte.py#L302)
    ..nomic_bert::NAMES
};
