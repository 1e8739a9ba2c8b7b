//! Nomic BERT (Nussbaum et al., <https://arxiv.org/abs/2402.01613>): BERT with rotary positions, a gate in its feed-forward blocks
//! and without biases.

use embervec_json::Json;
use embervec_kernels::Activation;

use super::{Family, bert};
use crate::config::Fields;
use crate::names::{LayerNames, Names};
use crate::{EncoderSpec, FeedForwardSpec, Result, RotarySpec};

/// [`NomicBertConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/configuration_nomic_bert.py#L31)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let mut spec = bert::read_as(fields, Family::NomicBert, [30528, 768, 12, 12, 3072])?;
    refuse_others(fields)?;
    fields.rotary(&mut spec, 2048, RotarySpec::of(fields.one_rotary_theta(1000.0)?))?;
    spec.attention.has_bias = false;
    spec.feed_forward = FeedForwardSpec {
        activation: fields.activation("hidden_act", Activation::Silu)?,
        has_gate: true,
        has_bias: false,
        has_output_bias: false,
        ..spec.feed_forward
    };
    Ok(spec)
}

/// What the configurations say that came before transformers' own class, which knows nothing of it: it computes such a folder with
/// its defaults.
fn refuse_others(fields: &Fields) -> Result<()> {
    for (name, value) in [
        ("n_embd", 768),
        ("n_head", 12),
        ("n_inner", 3072),
        ("n_layer", 12),
        ("rotary_emb_fraction", 1),
        ("rotary_emb_base", 1000),
    ] {
        let is_it = |found: &Json| match *found {
            Json::Int(found) => found == value,
            Json::Float(found) => found == value as f64,
            _ => false,
        };
        fields.must_be(name, &value.to_string(), is_it)?;
    }
    fields.must_be("layer_norm_epsilon", "1e-12", |found| *found == Json::Float(1e-12))?;
    for name in [
        "mlp_fc1_bias",
        "mlp_fc2_bias",
        "parallel_block",
        "prenorm",
        "qkv_proj_bias",
        "rotary_emb_interleaved",
        "rotary_emb_scale_base",
        "rotary_scaling_factor",
        "use_rms_norm",
    ] {
        let is_off = |found: &Json| matches!(found, Json::Null | Json::Bool(false));
        fields.must_be(name, "false", is_off)?;
    }
    fields.must_be("activation_function", "swiglu", |found| found.as_str() == Some("swiglu"))
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`NomicBertPreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L316)
    prefix: "nomic_bert.",
    // [`_build_checkpoint_conversion_mapping`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/conversion_mapping.py#L1654)
    renames: &[
        ("encoder.layers", "layers"),
        ("emb_ln", "embeddings.LayerNorm"),
        ("attn.out_proj", "self_attn.o_proj"),
        ("fc11", "up_proj"),
        ("fc12", "gate_proj"),
        ("fc2", "down_proj"),
        ("norm1", "post_attention_layernorm"),
        ("norm2", "post_mlp_layernorm"),
    ],
    // [`NomicBertModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L360)
    layer: |layer, _| format!("layers.{layer}"),
    layer_parts: LayerNames {
        // [`NomicBertAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L197)
        query: "self_attn.q_proj",
        key: "self_attn.k_proj",
        value: "self_attn.v_proj",
        attention_output: "self_attn.o_proj",
        // [`NomicBertLayer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L264)
        attention_norm: "post_attention_layernorm",
        // [`NomicBertMLP`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L248)
        intermediate: "mlp.gate_proj",
        gate: "mlp.up_proj",
        output: "mlp.down_proj",
        output_norm: "post_mlp_layernorm",
        ..bert::NAMES.layer_parts
    },
    qkv: "attn.Wqkv",
    // [`NomicBertPooler`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L344)
    // and [`NomicBertEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/nomic_bert/modeling_nomic_bert.py#L48)
    ..bert::NAMES
};

#[cfg(test)]
mod tests {
    use crate::{EncoderSpec, Result, RotarySpec};

    fn read(entries: &str) -> Result<EncoderSpec> {
        let json = format!(r#"{{"model_type": "nomic_bert"{entries}}}"#);
        EncoderSpec::from_json("config.json", json.as_bytes())
    }

    #[test]
    fn older_configurations_are_read_as_transformers_reads_them() {
        let new = read("").expect("the defaults");
        assert_eq!(new.attention.rotary, Some(RotarySpec::of(1000.0)));
        assert_eq!(new.positions.limit(), 2048);
        // As nomic-embed-text-v1.5 has it, whose 8192 positions are a matter of sentence_bert_config.json.
        let old = r#", "activation_function": "swiglu", "n_embd": 768, "n_head": 12, "n_inner": 3072, "n_layer": 12,
            "n_positions": 8192, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": false,
            "rotary_emb_scale_base": null, "rotary_scaling_factor": null, "qkv_proj_bias": false, "mlp_fc1_bias": false,
            "mlp_fc2_bias": false, "prenorm": false, "use_rms_norm": false, "parallel_block": false,
            "layer_norm_epsilon": 1e-12, "causal": false, "type_vocab_size": 2, "vocab_size": 30528"#;
        assert_eq!(read(old).expect("the same"), new);
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        for entries in [
            r#", "n_embd": 1024"#,
            r#", "rotary_emb_fraction": 0.5"#,
            r#", "rotary_emb_base": 10000"#,
            r#", "rotary_scaling_factor": 2"#,
            r#", "qkv_proj_bias": true"#,
            r#", "prenorm": true"#,
            r#", "activation_function": "geglu""#,
            r#", "head_dim": 32"#,
            r#", "hidden_size": 15, "num_attention_heads": 3"#,
            r#", "rope_scaling": {"type": "dynamic", "factor": 2.0}"#,
            r#", "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000}"#,
            r#", "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}"#,
            r#", "rope_parameters": {"rope_theta": 0}"#,
            r#", "rope_parameters": []"#,
            r#", "rope_theta": "1000""#,
        ] {
            read(entries).expect_err(entries);
        }
        let theta =
            |entries| read(entries).expect("valid").attention.rotary.map(|rotary| rotary.theta);
        assert_eq!(theta(r#", "rope_theta": 5"#), Some(5.0));
        assert_eq!(
            theta(r#", "rope_theta": 5, "rope_parameters": {"rope_theta": 7.5}"#),
            Some(7.5)
        );
        assert_eq!(theta(r#", "rope_parameters": null"#), Some(1000.0));
        assert_eq!(theta(r#", "rope_parameters": {"type": "default"}"#), Some(1000.0));
    }
}
