//! The `config.json` of the modules with weights, Dense and LayerNorm, and of Normalize and Dropout.
//!
//! As [`Dense`], [`LayerNorm`], [`Normalize`] and [`Dropout`] read them.
//!
//! [`Dense`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/dense.py
//! [`LayerNorm`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/layer_norm.py
//! [`Normalize`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/normalize.py
//! [`Dropout`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/dropout.py

use embervec_json::{Json, Object};
use embervec_weights::limits::MAX_DIMENSION;
use embervec_weights::{KeyTable, Quantization};

use super::transformer::check_feature;
use crate::activation::Activation;
use crate::{Error, Result};

pub(crate) const SENTENCE_EMBEDDING: &str = "sentence_embedding";

/// A linear layer, an activation, and what is added to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DenseSpec {
    pub in_features: usize,
    pub out_features: usize,
    bias: bool,
    pub activation: Activation,
    pub use_residual: bool,
    pub input: String,
    pub output: String,
}

impl DenseSpec {
    pub fn read(file: &str, entries: &Object) -> Result<Self> {
        let invalid = |key: &str, value: &Json, problem: &str| {
            Error::invalid(file, format!("{key} {value} {problem}"))
        };
        let size = |key: &str| {
            let value = entries.get(key).unwrap_or(&Json::Null);
            value.as_usize().filter(|size| (1..=MAX_DIMENSION).contains(size)).ok_or_else(|| {
                invalid(
                    key,
                    value,
                    &format!("is not a valid size; it must be between 1 and {MAX_DIMENSION}"),
                )
            })
        };
        for key in ["init_weight", "init_bias"] {
            if let Some(value) = entries.get_some(key) {
                return Err(invalid(key, value, "is not a tensor"));
            }
        }
        let activation = match entries.get("activation_function") {
            None => Activation::Tanh,
            Some(Json::Str(class)) => Activation::of_python(class).ok_or_else(|| {
                let what = format!("activation_function \"{class}\"");
                Error::unsupported(file, what, &Activation::names())
            })?,
            Some(value) => {
                return Err(invalid("activation_function", value, "is not the name of a class"));
            }
        };
        let input = match entries.get("module_input_name") {
            None => SENTENCE_EMBEDDING.to_owned(),
            Some(Json::Str(name)) => name.clone(),
            Some(value) => return Err(invalid("module_input_name", value, "is not a name")),
        };
        let output = match entries.get_some("module_output_name") {
            None => input.clone(),
            Some(Json::Str(name)) => name.clone(),
            Some(value) => return Err(invalid("module_output_name", value, "is not a name")),
        };
        check_feature(file, "module_input_name", &input)?;
        check_feature(file, "module_output_name", &output)?;
        Ok(Self {
            in_features: size("in_features")?,
            out_features: size("out_features")?,
            bias: entries.get("bias").is_none_or(Json::is_true),
            activation,
            use_residual: entries.get("use_residual").is_some_and(Json::is_true),
            input,
            output,
        })
    }

    /// Whether what is added has a layer of its own.
    pub fn has_residual_layer(&self) -> bool {
        self.use_residual && self.in_features != self.out_features
    }

    /// The tensors of its weight file.
    pub fn key_table(&self) -> KeyTable {
        let mut table = KeyTable::new("").strict();
        let shape = [self.out_features, self.in_features];
        table.require_matrix("linear.weight", shape, Quantization::Linear);
        if self.bias {
            table.require("linear.bias", &[self.out_features]);
        }
        if self.has_residual_layer() {
            table.require_matrix("residual.weight", shape, Quantization::Linear);
        }
        table
    }
}

/// `torch.nn.LayerNorm` of the sentence's vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerNormSpec {
    pub dimension: usize,
}

impl LayerNormSpec {
    pub fn read(file: &str, entries: &Object) -> Result<Self> {
        refuse_others(file, entries, &["dimension"], "LayerNorm")?;
        let value = entries.get("dimension").unwrap_or(&Json::Null);
        let dimension = value.as_usize().filter(|size| (1..=MAX_DIMENSION).contains(size));
        let dimension = dimension.ok_or_else(|| {
            Error::invalid(
                file,
                format!("dimension {value} is not a valid size; it must be between 1 and {MAX_DIMENSION}"),
            )
        })?;
        Ok(Self { dimension })
    }

    pub fn key_table(&self) -> KeyTable {
        let mut table = KeyTable::new("").strict();
        table.require("norm.weight", &[self.dimension]);
        table.require("norm.bias", &[self.dimension]);
        table
    }
}

/// Which feature a Normalize module scales, and what it calls the result.
pub(crate) fn read_normalize(file: &str, entries: &Object) -> Result<(String, String)> {
    let input = match entries.get("module_input_name") {
        None => SENTENCE_EMBEDDING.to_owned(),
        Some(Json::Str(name)) => name.clone(),
        Some(value) => {
            return Err(Error::invalid(file, format!("module_input_name {value} is not a name")));
        }
    };
    let output = match entries.get("module_output_name") {
        None | Some(Json::Null) => input.clone(),
        Some(Json::Str(name)) => name.clone(),
        Some(value) => {
            return Err(Error::invalid(file, format!("module_output_name {value} is not a name")));
        }
    };
    check_feature(file, "module_input_name", &input)?;
    check_feature(file, "module_output_name", &output)?;
    Ok((input, output))
}

/// Checks the settings of a Dropout module, which does nothing outside of training.
pub(crate) fn check_dropout(file: &str, entries: &Object) -> Result<()> {
    refuse_others(file, entries, &["dropout"], "Dropout")?;
    let is_share = |value: &Json| match value {
        Json::Bool(_) => true,
        Json::Int(value) => (0..=1).contains(value),
        Json::Float(value) => (0.0..=1.0).contains(value),
        _ => false,
    };
    match entries.get("dropout") {
        Some(value) if !is_share(value) => {
            Err(Error::invalid(file, format!("dropout {value} is not between 0 and 1")))
        }
        _ => Ok(()),
    }
}

fn refuse_others(file: &str, entries: &Object, known: &[&str], module: &str) -> Result<()> {
    match entries.iter().find(|(key, _)| !known.contains(key)) {
        Some((key, value)) => Err(Error::invalid(
            file,
            format!("{key} {value} is not an option of the {module} module"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(json: &str) -> Object {
        Json::parse(json.as_bytes()).expect(json).as_object().expect("an object").clone()
    }

    #[test]
    fn dense() {
        let read = |json: &str| DenseSpec::read("2_Dense/config.json", &entries(json));
        let plain = read(r#"{"in_features": 4, "out_features": 2}"#).expect("valid");
        assert_eq!(
            (plain.bias, plain.activation, plain.use_residual),
            (true, Activation::Tanh, false)
        );
        assert_eq!((&*plain.input, &*plain.output), (SENTENCE_EMBEDDING, SENTENCE_EMBEDDING));
        let other = read(
            r#"{"in_features": 4, "out_features": 2, "bias": 0, "module_input_name": "token_embeddings", "whatever": 5,
                "activation_function": "torch.nn.modules.linear.Identity", "module_output_name": null, "use_residual": 1}"#,
        )
        .expect("valid");
        assert_eq!((other.bias, other.activation), (false, Activation::Identity));
        assert!(other.has_residual_layer());
        assert_eq!((&*other.input, &*other.output), ("token_embeddings", "token_embeddings"));
        for rest in [
            r#""in_features": 4"#,
            r#""in_features": 4.0, "out_features": 2"#,
            r#""in_features": 4, "out_features": 0"#,
            r#""in_features": 4, "out_features": 4294967297"#,
            r#""in_features": 4, "out_features": 2, "activation_function": null"#,
            r#""in_features": 4, "out_features": 2, "activation_function": "torch.nn.Bilinear""#,
            r#""in_features": 4, "out_features": 2, "module_input_name": null"#,
            r#""in_features": 4, "out_features": 2, "module_output_name": "attention_mask""#,
            r#""in_features": 4, "out_features": 2, "init_bias": [1]"#,
        ] {
            assert_eq!(read(&format!("{{{rest}}}")).expect_err(rest).code(), "unsupported_model");
        }
    }

    #[test]
    fn normalize() {
        let read = |json: &str| read_normalize("2_Normalize/config.json", &entries(json));
        let both = |name: &str| (name.to_owned(), name.to_owned());
        assert_eq!(read("{}").expect("valid"), both(SENTENCE_EMBEDDING));
        assert_eq!(
            read(r#"{"module_input_name": "x", "hidden_size": 5}"#).expect("valid"),
            both("x")
        );
        assert!(read(r#"{"module_input_name": null}"#).is_err());
        assert!(read(r#"{"module_input_name": []}"#).is_err());
        assert!(read(r#"{"module_output_name": "input_ids"}"#).is_err());
    }

    #[test]
    fn layer_norm_and_dropout() {
        assert!(LayerNormSpec::read("f", &entries(r#"{"dimension": 8}"#)).is_ok());
        for json in ["{}", r#"{"dimension": 0}"#, r#"{"dimension": 8, "eps": 1}"#] {
            assert!(LayerNormSpec::read("f", &entries(json)).is_err(), "{json}");
        }
        for json in ["{}", r#"{"dropout": 0.5}"#, r#"{"dropout": 1}"#] {
            check_dropout("f", &entries(json)).expect(json);
        }
        for json in
            [r#"{"dropout": 1.5}"#, r#"{"dropout": null}"#, r#"{"p": 0}"#, r#"{"dropout": NaN}"#]
        {
            assert!(check_dropout("f", &entries(json)).is_err(), "{json}");
        }
    }
}
