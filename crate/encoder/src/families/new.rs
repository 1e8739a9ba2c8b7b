//! GTE as Alibaba's own code has it, whose `model_type` is `new` (Zhang et al., <https://arxiv.org/abs/2407.19669>): the layers of
//! [`gte`](super::gte), with rotary positions that may be scaled for longer texts. Its code is not part of transformers.

use embervec_json::Json;

use super::{Family, bert, gte};
use crate::config::Fields;
use crate::names::Names;
use crate::{EncoderSpec, FeedForwardSpec, Result, RotarySpec};

/// As [`GTEConfig`](https://github.com/huggingface/text-embeddings-inference/blob/005a69335a6b890ee8dccc45ba3202646f455fb1/backends/candle/src/models/gte.rs#L20)
/// of text-embeddings-inference is used.
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let sizes = [30528, 768, 12, 12, 3072];
    let mut spec = bert::read_without_types(fields, Family::New, sizes)?;
    if fields.get("type_vocab_size") != Some(&Json::Int(0)) {
        spec.type_vocab_size = fields.dimension("type_vocab_size", 1)?;
    }
    for (name, only) in [("layer_norm_type", "layer_norm"), ("position_embedding_type", "rope")] {
        fields.must_be(name, only, |value| value.as_str() == Some(only))?;
    }
    for name in ["logn_attention_scale", "logn_attention_clip1"] {
        fields.must_be(name, "false", |value| *value == Json::Bool(false))?;
    }
    // What transformers' own classes have in place of the next two.
    fields.must_be("rope_parameters", "null", |value| *value == Json::Null)?;
    let rotary = rotary(fields, spec.attention_head_size())?;
    fields.rotary(&mut spec, 2048, rotary)?;
    spec.feed_forward = FeedForwardSpec { has_gate: true, has_bias: false, ..spec.feed_forward };
    Ok(spec)
}

/// Of a `rope_scaling` only `ntk` is there, as
/// [`GTEModel`](https://github.com/huggingface/text-embeddings-inference/blob/005a69335a6b890ee8dccc45ba3202646f455fb1/backends/candle/src/models/gte.rs#L340)
/// computes it.
fn rotary(fields: &Fields, head_size: usize) -> Result<RotarySpec> {
    const NAME: &str = "rope_scaling";
    const SUPPORTED: &str = r#"null, or {"type": "ntk", "factor": …}"#;
    let theta = fields.rotary_number("rope_theta", fields.get("rope_theta"), 10_000.0)?;
    let scaling = match fields.get(NAME) {
        None | Some(Json::Null) => return Ok(RotarySpec::of(theta)),
        Some(Json::Object(scaling)) => scaling,
        Some(_) => return fields.unsupported(NAME, SUPPORTED),
    };
    let is_known = |(key, value): (&str, &Json)| match key {
        "type" | "rope_type" => value.as_str() == Some("ntk"),
        "factor" => true,
        "mixed_b" => *value == Json::Null,
        _ => false,
    };
    let has = |key| scaling.get(key).is_some();
    let is_whole = has("factor") && (has("type") || has("rope_type"));
    if !is_whole || !scaling.iter().all(is_known) {
        return fields.unsupported(NAME, SUPPORTED);
    }
    let factor = fields.rotary_number(NAME, scaling.get("factor"), 1.0)?;
    Ok(RotarySpec { theta: theta * factor, divisor: factor.powf(2.0 / head_size as f64) })
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of the class; where queries, keys and values are apart, they have these names.
    prefix: "new.",
    renames: &[
        ("encoder.layer.", "layers."),
        ("attention.q_proj", "self_attn.q_proj"),
        ("attention.k_proj", "self_attn.k_proj"),
        ("attention.v_proj", "self_attn.v_proj"),
        ("attention.o_proj", "self_attn.o_proj"),
        ("attn_ln", "post_attention_layernorm"),
        ("mlp_ln", "post_mlp_layernorm"),
    ],
    ..gte::NAMES
};

#[cfg(test)]
mod tests {
    use crate::{EncoderSpec, Result, RotarySpec};

    fn read(entries: &str) -> Result<EncoderSpec> {
        let json = format!(r#"{{"model_type": "new"{entries}}}"#);
        EncoderSpec::from_json("config.json", json.as_bytes())
    }

    #[test]
    fn positions_may_be_scaled() {
        // As gte-multilingual-base has it.
        let spec = read(
            r#", "architectures": ["NewModel"], "hidden_act": "gelu", "layer_norm_type": "layer_norm", "pack_qkv": true,
            "logn_attention_clip1": false, "logn_attention_scale": false, "max_position_embeddings": 8192,
            "position_embedding_type": "rope", "rope_scaling": {"factor": 8.0, "type": "ntk"}, "rope_theta": 20000,
            "type_vocab_size": 1, "unpad_inputs": false, "use_memory_efficient_attention": false, "vocab_size": 250048,
            "auto_map": {"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"}"#,
        )
        .expect("valid");
        let divisor = 8_f64.powf(2.0 / 64.0);
        assert_eq!(spec.attention.rotary, Some(RotarySpec { theta: 160_000.0, divisor }));
        assert!(spec.feed_forward.has_gate && !spec.feed_forward.has_bias);
        assert_eq!((spec.positions.limit(), spec.type_vocab_size), (8192, 1));
        let plain = read(r#", "rope_scaling": null, "type_vocab_size": 0"#).expect("valid");
        assert_eq!(plain.attention.rotary, Some(RotarySpec::of(10_000.0)));
        assert_eq!(plain.type_vocab_size, 0);
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        for entries in [
            r#", "rope_scaling": {"type": "linear", "factor": 2.0}"#,
            r#", "rope_scaling": {"type": "ntk"}"#,
            r#", "rope_scaling": {"factor": 2.0}"#,
            r#", "rope_scaling": {"type": "ntk", "factor": 0.5}"#,
            r#", "rope_scaling": {"type": "ntk", "factor": "8"}"#,
            r#", "rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.6}"#,
            r#", "rope_scaling": {"type": "ntk", "factor": 2.0, "other": 1}"#,
            r#", "rope_parameters": {"rope_theta": 1e4}"#,
            r#", "rope_theta": 0.5"#,
            r#", "layer_norm_type": "rms_norm""#,
            r#", "position_embedding_type": "absolute""#,
            r#", "logn_attention_scale": true"#,
            r#", "logn_attention_clip1": true"#,
        ] {
            read(entries).expect_err(entries);
        }
    }
}
