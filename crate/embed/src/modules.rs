//! The modules that sentence-transformers puts after the transformer.

use burn::tensor::Device;
use embervec_bert::model::Linear;
use embervec_bert::ops::{Activation, to_vec, upload};
use embervec_bert::{KeyTable, PoolingMode, Weights};
use serde::Deserialize;

use crate::{Error, Result};

/// `1_Pooling/config.json`, in the spelling of today (`pooling_mode`) or of the years before.
#[derive(Debug, Deserialize)]
struct PoolingConfig {
    #[serde(alias = "word_embedding_dimension")]
    embedding_dimension: usize,
    #[serde(default)]
    pooling_mode: Option<OneOrMany>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default = "default_true")]
    include_prompt: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(PoolingMode),
    Many(Vec<PoolingMode>),
}

fn default_true() -> bool {
    true
}

/// The pooling of a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooling {
    /// One or several, whose vectors are concatenated in this order.
    pub modes: Vec<PoolingMode>,
    /// Whether a prompt's tokens take part.
    pub include_prompt: bool,
}

impl Pooling {
    /// What sentence-transformers uses for a folder that does not say.
    pub(crate) fn mean() -> Self {
        Self { modes: vec![PoolingMode::Mean], include_prompt: true }
    }

    pub(crate) fn from_json(file: &str, json: &[u8], hidden_size: usize) -> Result<Self> {
        let config: PoolingConfig = serde_json::from_slice(json)
            .map_err(|source| embervec_bert::Error::Json { file: file.into(), source })?;
        if config.embedding_dimension != hidden_size {
            return Err(Error::InvalidFile {
                file: file.into(),
                problem: format!(
                    "is for vectors of {}, but the model's have {hidden_size}",
                    config.embedding_dimension
                ),
            });
        }
        let modes = match config.pooling_mode {
            Some(OneOrMany::One(mode)) => vec![mode],
            Some(OneOrMany::Many(modes)) => modes,
            None => [
                (config.pooling_mode_cls_token, PoolingMode::Cls),
                (config.pooling_mode_max_tokens, PoolingMode::Max),
                (config.pooling_mode_mean_tokens, PoolingMode::Mean),
                (config.pooling_mode_mean_sqrt_len_tokens, PoolingMode::MeanSqrtLen),
                (config.pooling_mode_weightedmean_tokens, PoolingMode::WeightedMean),
                (config.pooling_mode_lasttoken, PoolingMode::LastToken),
            ]
            .into_iter()
            .filter_map(|(wanted, mode)| wanted.then_some(mode))
            .collect(),
        };
        let modes = if modes.is_empty() { vec![PoolingMode::Mean] } else { modes };
        Ok(Self { modes, include_prompt: config.include_prompt })
    }
}

/// `2_Dense/config.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct DenseConfig {
    pub in_features: usize,
    pub out_features: usize,
    #[serde(default = "default_true")]
    bias: bool,
    #[serde(default)]
    activation_function: Option<String>,
    #[serde(default)]
    module_input_name: Option<String>,
    #[serde(default)]
    module_output_name: Option<String>,
    #[serde(default)]
    use_residual: bool,
}

impl DenseConfig {
    /// The tensors of its weight file.
    pub fn key_table(&self) -> KeyTable {
        let mut table = KeyTable::new();
        table.require("linear.weight", &[self.out_features, self.in_features]);
        if self.bias {
            table.require("linear.bias", &[self.out_features]);
        }
        table
    }

    /// The activation, as long as all of the module can be computed.
    pub fn activation(&self, file: &str) -> Result<Activation> {
        let names = [&self.module_input_name, &self.module_output_name];
        if names.into_iter().flatten().any(|name| name != "sentence_embedding") {
            return Err(Error::unsupported(
                file,
                "a Dense module of tokens".into(),
                "sentence_embedding",
            ));
        }
        if self.use_residual {
            return Err(Error::unsupported(file, "use_residual true".into(), "false"));
        }
        // Python's path of the class; the default of sentence-transformers is Tanh.
        let class =
            self.activation_function.as_deref().unwrap_or("torch.nn.modules.activation.Tanh");
        match class.rsplit('.').next().unwrap_or_default() {
            "Tanh" => Ok(Activation::Tanh),
            "Identity" => Ok(Activation::Identity),
            "GELU" => Ok(Activation::Gelu),
            _ => Err(Error::unsupported(
                file,
                format!("activation_function \"{class}\""),
                "Tanh, Identity, GELU",
            )),
        }
    }
}

/// A linear layer and an activation on the sentence's vector.
///
/// [`Dense`](https://github.com/huggingface/sentence-transformers/blob/v5.1.2/sentence_transformers/models/Dense.py)
#[derive(Debug)]
pub(crate) struct Dense {
    linear: Linear,
    activation: Activation,
    pub in_features: usize,
    pub out_features: usize,
}

impl Dense {
    pub fn load(
        config: &DenseConfig,
        file: &str,
        mut weights: Weights,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            linear: Linear::load(&mut weights, "linear", device)?,
            activation: config.activation(file)?,
            in_features: config.in_features,
            out_features: config.out_features,
        })
    }

    /// `[texts, in_features]` to `[texts, out_features]`.
    pub fn forward(&self, vectors: Vec<f32>, device: &Device) -> Result<Vec<f32>> {
        let shape = [vectors.len() / self.in_features, self.in_features];
        let x = upload(vectors, shape, device);
        Ok(to_vec(self.linear.forward(x, self.activation))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_pooling_configs_are_read() {
        let parse = |json: &str| Pooling::from_json("1_Pooling/config.json", json.as_bytes(), 2);
        let modes = |json| parse(json).expect("valid").modes;
        assert_eq!(
            modes(
                r#"{"word_embedding_dimension": 2, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#
            ),
            [PoolingMode::Cls, PoolingMode::Mean]
        );
        assert_eq!(
            modes(r#"{"embedding_dimension": 2, "pooling_mode": "lasttoken"}"#),
            [PoolingMode::LastToken]
        );
        assert_eq!(
            modes(r#"{"embedding_dimension": 2, "pooling_mode": ["max", "mean_sqrt_len_tokens"]}"#),
            [PoolingMode::Max, PoolingMode::MeanSqrtLen]
        );
        assert_eq!(modes(r#"{"embedding_dimension": 2}"#), [PoolingMode::Mean]);
        assert!(parse(r#"{"embedding_dimension": 3}"#).is_err());
        assert!(parse(r#"{"embedding_dimension": 2, "pooling_mode": "median"}"#).is_err());
    }
}
