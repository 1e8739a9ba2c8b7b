//! `config.json`, as Hugging Face writes it.

use serde::Deserialize;

use crate::{Error, Result};

/// The values of `model_type` that [`BertConfig::from_json`] accepts.
pub const SUPPORTED_MODEL_TYPES: &[&str] = &["bert"];

/// No published encoder comes near this size (BERT-large: 1024 wide, 24 layers, 30522 words; the
/// largest multilingual vocabularies: 250002). It keeps products of two sizes within 64 bits and a
/// hostile file from asking for a billion layers.
const MAX_SIZE: usize = 1 << 22;
const MAX_LAYERS: usize = 1 << 10;

/// The shape of a BERT encoder.
///
/// Field names are those of Hugging Face's
/// [`BertConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/configuration_bert.py);
/// a field that a published file may leave out has that class's default.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct BertConfig {
    /// Number of rows of the word embedding table.
    #[serde(default = "default_vocab_size")]
    pub vocab_size: usize,
    /// Width of a token's vector between the layers.
    #[serde(default = "default_hidden_size")]
    pub hidden_size: usize,
    /// Number of encoder layers.
    #[serde(default = "default_twelve")]
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides `hidden_size`.
    #[serde(default = "default_twelve")]
    pub num_attention_heads: usize,
    /// Width inside the feed-forward block.
    #[serde(default = "default_intermediate_size")]
    pub intermediate_size: usize,
    /// Number of positions, and so the longest text in tokens.
    #[serde(default = "default_max_position_embeddings")]
    pub max_position_embeddings: usize,
    /// Number of segments (sentence A, sentence B).
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: usize,
    /// Added to the variance in every layer normalisation.
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default = "default_hidden_act")]
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

fn default_vocab_size() -> usize {
    30522
}
fn default_hidden_size() -> usize {
    768
}
fn default_twelve() -> usize {
    12
}
fn default_intermediate_size() -> usize {
    3072
}
fn default_max_position_embeddings() -> usize {
    512
}
fn default_type_vocab_size() -> usize {
    2
}
fn default_layer_norm_eps() -> f64 {
    1e-12
}
fn default_hidden_act() -> String {
    "gelu".into()
}

/// [`BertConfig::linear_weights`] of BERT-base: 12 layers of 768 · (4 · 768 + 2 · 3072).
pub const BERT_BASE_WEIGHTS: usize = 84_934_656;

impl BertConfig {
    /// Weights of the layers' matrices, by which the work for a token grows. Hostile sizes saturate.
    pub fn linear_weights(&self) -> usize {
        let [hidden, intermediate] = [self.hidden_size, self.intermediate_size];
        let columns = hidden.saturating_mul(4).saturating_add(intermediate.saturating_mul(2));
        self.num_hidden_layers.saturating_mul(hidden.saturating_mul(columns))
    }

    /// Reads and validates the bytes of a `config.json`; `file` is its path, for messages.
    ///
    /// # Errors
    ///
    /// [`Error::Json`], [`Error::Unsupported`] for another architecture or activation,
    /// [`Error::InvalidConfig`] for sizes that cannot be.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(json)
            .map_err(|source| Error::Json { file: file.into(), source })?;
        config.check_supported(file)?;
        config.check_sizes(file)?;
        Ok(config)
    }

    /// Width of one attention head.
    pub fn attention_head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    fn check_supported(&self, file: &str) -> Result<()> {
        let unsupported = |what: String, supported: String| {
            Err(Error::Unsupported { file: file.into(), what, supported })
        };
        let model_type = self.model_type.as_deref().unwrap_or("(missing)");
        if !SUPPORTED_MODEL_TYPES.contains(&model_type) {
            return unsupported(
                format!("model_type \"{model_type}\""),
                SUPPORTED_MODEL_TYPES.join(", "),
            );
        }
        if self.hidden_act != "gelu" {
            return unsupported(format!("hidden_act \"{}\"", self.hidden_act), "gelu".into());
        }
        if let Some(kind) = self.position_embedding_type.as_deref()
            && kind != "absolute"
        {
            return unsupported(format!("position_embedding_type \"{kind}\""), "absolute".into());
        }
        if self.is_decoder {
            return unsupported("is_decoder true".into(), "false".into());
        }
        Ok(())
    }

    fn check_sizes(&self, file: &str) -> Result<()> {
        let invalid = |problem: String| Err(Error::InvalidConfig { file: file.into(), problem });
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("max_position_embeddings", self.max_position_embeddings, MAX_SIZE),
            ("type_vocab_size", self.type_vocab_size, MAX_SIZE),
        ];
        for (name, size, limit) in sizes {
            if size == 0 || size > limit {
                return invalid(format!("{name} is {size}, but must lie in 1..={limit}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return invalid(format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return invalid(format!(
                "layer_norm_eps is {}, but must lie between 0 and 1",
                self.layer_norm_eps
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<BertConfig> {
        BertConfig::from_json("config.json", json.as_bytes())
    }

    #[test]
    fn missing_fields_have_hugging_faces_defaults() {
        let config = parse(r#"{"model_type": "bert"}"#).expect("valid");
        assert_eq!(config.hidden_size, 768);
        assert_eq!(config.attention_head_size(), 64);
        assert_eq!(config.layer_norm_eps, 1e-12);
    }

    #[test]
    fn what_is_not_supported_is_named_with_what_is() {
        for (json, word) in [
            (r#"{"model_type": "roberta"}"#, "roberta"),
            (r#"{}"#, "model_type"),
            (r#"{"model_type": "bert", "hidden_act": "gelu_new"}"#, "gelu_new"),
            (
                r#"{"model_type": "bert", "position_embedding_type": "relative_key"}"#,
                "relative_key",
            ),
            (r#"{"model_type": "bert", "is_decoder": true}"#, "is_decoder"),
        ] {
            let error = parse(json).expect_err(json);
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains(word), "{error}");
            assert!(error.to_string().contains("supported:"), "{error}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for field in [
            r#""hidden_size": 0"#,
            r#""hidden_size": 770"#,
            r#""num_hidden_layers": 1000000000"#,
            r#""vocab_size": 99999999999"#,
            r#""layer_norm_eps": -1"#,
        ] {
            let error = parse(&format!(r#"{{"model_type": "bert", {field}}}"#)).expect_err(field);
            assert!(matches!(error, Error::InvalidConfig { .. }), "{error}");
        }
        assert!(matches!(
            parse(r#"{"model_type": "bert", "hidden_size": -3}"#),
            Err(Error::Json { .. })
        ));
    }

    #[test]
    fn base_and_large_have_the_weights_of_their_shapes() {
        let weights = |layers: usize, hidden: usize| {
            let json = format!(
                r#"{{"model_type": "bert", "num_hidden_layers": {layers}, "hidden_size": {hidden},
                    "num_attention_heads": 4, "intermediate_size": {}}}"#,
                4 * hidden
            );
            parse(&json).expect("valid").linear_weights()
        };
        assert_eq!(weights(12, 768), BERT_BASE_WEIGHTS);
        assert_eq!(weights(24, 1024), 24 * 12 * 1024 * 1024);
        assert_eq!(weights(6, 384), 10_616_832);
    }
}
