//! Jina's BERT (Günther et al., <https://arxiv.org/abs/2310.19923>): BERT with linear biases in place of positions, and a gate in its
//! feed-forward blocks. Its `model_type` is `bert`, too; its code is not part of transformers.

use embervec_json::Json;
use embervec_kernels::Activation;

use super::{Family, bert};
use crate::config::Fields;
use crate::names::{LayerNames, Names};
use crate::{EncoderSpec, FeedForwardSpec, Result};

/// Whether a `config.json` of `model_type` `bert` is one of these.
pub(crate) fn is_meant(fields: &Fields) -> bool {
    fields.get("position_embedding_type").and_then(Json::as_str) == Some("alibi")
}

/// As `JinaBertConfig` of
/// [jina-bert-implementation](https://huggingface.co/jinaai/jina-bert-implementation/blob/main/configuration_bert.py) is used: the
/// activation is that of `feed_forward_type`.
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let mut spec = bert::read_as(fields, Family::JinaBert, [30522, 768, 12, 12, 3072])?;
    spec.positions.has_table = false;
    spec.attention.has_alibi = true;
    spec.feed_forward = FeedForwardSpec {
        activation: match fields.get("feed_forward_type").and_then(Json::as_str) {
            Some("geglu") => Activation::Gelu,
            Some("reglu") => Activation::Relu,
            _ => return fields.unsupported("feed_forward_type", "geglu, reglu"),
        },
        has_gate: true,
        has_bias: false,
        ..spec.feed_forward
    };
    // The variant for code has other layers.
    let is_known = |name: &Json| name.as_str().is_none_or(|name| !name.contains("qk-post-norm"));
    let others = "any encoder other than jina-bert-v2-qk-post-norm";
    fields.must_be("_name_or_path", others, is_known)?;
    Ok(spec)
}

pub(super) const NAMES: Names = Names {
    layer_parts: LayerNames {
        // [`JinaBertLayer`](https://github.com/huggingface/text-embeddings-inference/blob/02506d0b3879596c20905951425d16f09be1a556/backends/candle/src/models/jina.rs);
        // the first two are how we call the parts of `gated_layers`.
        intermediate: "mlp.input",
        gate: "mlp.gate",
        output: "mlp.wo",
        output_norm: "mlp.layernorm",
        ..bert::NAMES.layer_parts
    },
    gate_up: "mlp.gated_layers",
    ..bert::NAMES
};

#[cfg(test)]
mod tests {
    use crate::{EncoderSpec, Result};

    fn read(entries: &str) -> Result<EncoderSpec> {
        let json =
            format!(r#"{{"model_type": "bert", "position_embedding_type": "alibi"{entries}}}"#);
        EncoderSpec::from_json("config.json", json.as_bytes())
    }

    #[test]
    fn it_has_gates_and_no_positions() {
        // As jina-embeddings-v2-small-en has it.
        let spec = read(
            r#", "_name_or_path": "jinaai/jina-bert-implementation", "attn_implementation": "torch", "emb_pooler": "mean",
            "feed_forward_type": "geglu", "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8,
            "num_hidden_layers": 4, "max_position_embeddings": 8192, "model_max_length": 8192, "vocab_size": 30528,
            "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"}"#,
        )
        .expect("valid");
        assert!(spec.attention.has_alibi && spec.feed_forward.has_gate);
        assert!(!spec.positions.has_table);
        assert_eq!((spec.positions.limit(), spec.type_vocab_size), (8192, 2));
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        for entries in [
            "",
            r#", "feed_forward_type": "original""#,
            r#", "feed_forward_type": "swiglu""#,
            r#", "feed_forward_type": "geglu", "_name_or_path": "jinaai/jina-bert-v2-qk-post-norm""#,
            r#", "feed_forward_type": "geglu", "attn_implementation": "triton""#,
        ] {
            read(entries).expect_err(entries);
        }
    }
}
