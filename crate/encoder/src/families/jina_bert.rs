//! Jina's BERT (Günther et al., <https://arxiv.org/abs/2310.19923>): BERT with linear biases in place of positions, and a gate in its
//! feed-forward blocks. Its `model_type` is `bert`, too; its code is not part of transformers.

use embervec_json::Json;
use embervec_kernels::Activation;

use super::{Family, bert};
use crate::config::Fields;
use crate::names::{LayerNames, Names};
use crate::{EncoderSpec, FeedForwardSpec, Result};

/// Which of these a `config.json` of `model_type` `bert` is of.
pub(crate) fn which(fields: &Fields) -> Option<Family> {
    if fields.get("position_embedding_type").and_then(Json::as_str) != Some("alibi") {
        return None;
    }
    // Where the code is from, as
    // [text-embeddings-inference](https://github.com/huggingface/text-embeddings-inference/blob/0d124dc9773be6ac5a9a57d8439aba9bbbf33273/backends/candle/src/lib.rs#L70)
    // tells them apart. Tensors of the other one are refused in any case.
    let is_of_code = |name: &Json| name.as_str().is_some_and(|name| name.contains("qk-post-norm"));
    let model =
        fields.get("auto_map").and_then(Json::as_object).and_then(|map| map.get("AutoModel"));
    let names = [fields.get("_name_or_path"), model];
    Some(match names.into_iter().flatten().any(is_of_code) {
        true => Family::JinaCode,
        false => Family::JinaBert,
    })
}

/// As `JinaBertConfig` of
/// [jina-bert-implementation](https://huggingface.co/jinaai/jina-bert-implementation/blob/main/configuration_bert.py) is used: the
/// activation is that of `feed_forward_type`.
pub(super) fn read(fields: &Fields, family: Family) -> Result<EncoderSpec> {
    let mut spec = bert::read_as(fields, family, [30522, 768, 12, 12, 3072])?;
    spec.attention.has_qk_norm = family == Family::JinaCode;
    spec.layer_norm.is_repeated = family == Family::JinaCode;
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

/// Of the variant for code:
/// [`JinaCodeBertLayer`](https://github.com/huggingface/text-embeddings-inference/blob/09b8b2212cc57a33199205cfbecb973e9c2d6eff/backends/candle/src/models/jina_code.rs#L180).
pub(super) const CODE_NAMES: Names = Names {
    layer_parts: LayerNames {
        query_norm: "attention.self.layer_norm_q",
        key_norm: "attention.self.layer_norm_k",
        repeated_norm: "layer_norm_1",
        // These two are how we call the parts of `up_gated_layer`.
        gate: "mlp.up",
        intermediate: "mlp.gate",
        output: "mlp.down_layer",
        output_norm: "layer_norm_2",
        ..bert::NAMES.layer_parts
    },
    up_gate: "mlp.up_gated_layer",
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
    fn that_for_code_has_other_layers() {
        for entries in [
            r#", "_name_or_path": "jinaai/jina-bert-v2-qk-post-norm""#,
            r#", "auto_map": {"AutoModel": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel"}"#,
        ] {
            let spec = read(&format!(r#"{entries}, "feed_forward_type": "geglu""#)).expect(entries);
            assert!(spec.attention.has_qk_norm && spec.layer_norm.is_repeated, "{entries}");
        }
        let other = read(r#", "feed_forward_type": "geglu""#).expect("the other one");
        assert!(!other.attention.has_qk_norm);
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        for entries in [
            "",
            r#", "feed_forward_type": "original""#,
            r#", "feed_forward_type": "swiglu""#,
            r#", "feed_forward_type": "geglu", "attn_implementation": "triton""#,
        ] {
            read(entries).expect_err(entries);
        }
    }
}
