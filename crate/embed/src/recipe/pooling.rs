//! The `config.json` of a Pooling module.
//!
//! As [`Pooling`] reads it, in the spelling of today (`pooling_mode`) or of the years before.
//!
//! [`Pooling`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/pooling.py#L69

use embervec_encoder::PoolingMode;
use embervec_json::{Json, Object};

use crate::{Error, Result};

/// A module's settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pooling {
    /// One or several, whose vectors are put side by side in this order.
    pub modes: Vec<PoolingMode>,
    /// Whether a prompt's tokens take part.
    pub include_prompt: bool,
}

/// In the order in which their vectors stand side by side.
const OLD_KEYS: [(&str, PoolingMode); 6] = [
    ("pooling_mode_cls_token", PoolingMode::Cls),
    ("pooling_mode_max_tokens", PoolingMode::Max),
    ("pooling_mode_mean_tokens", PoolingMode::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", PoolingMode::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", PoolingMode::WeightedMean),
    ("pooling_mode_lasttoken", PoolingMode::LastToken),
];

impl Pooling {
    pub fn of(mode: PoolingMode) -> Self {
        Self { modes: vec![mode], include_prompt: true }
    }

    /// Reads the entries of the file, which is named for messages.
    pub fn read(file: &str, entries: &Object) -> Result<Self> {
        let invalid = |problem: String| Error::invalid(file, problem);
        for (key, value) in entries.iter() {
            let is_known = [
                "embedding_dimension",
                "word_embedding_dimension",
                "pooling_mode",
                "include_prompt",
            ]
            .contains(&key)
                || OLD_KEYS.iter().any(|(known, _)| *known == key);
            if !is_known {
                return Err(invalid(format!(
                    "{key} {value} is not an option of the Pooling module"
                )));
            }
        }
        // Python multiplies with it, and takes whatever can be multiplied; the vectors are as long as they are.
        let dimension =
            entries.get("embedding_dimension").or(entries.get("word_embedding_dimension"));
        if matches!(dimension, None | Some(Json::Null | Json::Object(_))) {
            return Err(invalid("there is no embedding_dimension".into()));
        }
        let modes = match entries.get("pooling_mode") {
            Some(value) => listed_modes(value).map_err(|()| {
                let names = "cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken";
                invalid(format!(
                    "pooling_mode is {value}, but must be one of {names}, or a list of them"
                ))
            })?,
            None => {
                let is_on = |key: &str| entries.get(key).is_some_and(Json::is_true);
                let modes: Vec<_> =
                    OLD_KEYS.iter().filter(|(key, _)| is_on(key)).map(|&(_, mode)| mode).collect();
                if modes.is_empty() { vec![PoolingMode::Mean] } else { modes }
            }
        };
        let include_prompt = entries.get("include_prompt").is_none_or(Json::is_true);
        Ok(Self { modes, include_prompt })
    }
}

/// A name, or several: Python takes a list, of which one that holds a single item stands for that, or the keys of an object.
fn listed_modes(value: &Json) -> std::result::Result<Vec<PoolingMode>, ()> {
    let value = match value {
        Json::List(items) if items.len() == 1 => &items[0],
        value => value,
    };
    let mode = |name: &str| PoolingMode::of_sentence_transformers(name).ok_or(());
    let modes: Vec<_> = match value {
        Json::Str(name) => vec![mode(name)?],
        Json::List(names) => names
            .iter()
            .map(|name| mode(name.as_str().ok_or(())?))
            .collect::<std::result::Result<_, ()>>()?,
        Json::Object(names) => {
            names.iter().map(|(name, _)| mode(name)).collect::<std::result::Result<_, ()>>()?
        }
        _ => return Err(()),
    };
    if modes.is_empty() { Err(()) } else { Ok(modes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Pooling> {
        let json = Json::parse(json.as_bytes()).expect(json);
        Pooling::read("1_Pooling/config.json", json.as_object().expect("an object"))
    }

    #[test]
    fn old_and_new_spellings() {
        use PoolingMode::{Cls, LastToken, Max, Mean, MeanSqrtLen};
        for (json, modes, include_prompt) in [
            (
                r#"{"word_embedding_dimension": 2, "pooling_mode_mean_tokens": 1, "pooling_mode_cls_token": true}"#,
                vec![Cls, Mean],
                true,
            ),
            (
                r#"{"word_embedding_dimension": 2, "pooling_mode_mean_tokens": false}"#,
                vec![Mean],
                true,
            ),
            (
                r#"{"embedding_dimension": 3, "pooling_mode": "lasttoken", "include_prompt": 0}"#,
                vec![LastToken],
                false,
            ),
            (
                r#"{"embedding_dimension": 2, "pooling_mode": ["max", "mean_sqrt_len_tokens"]}"#,
                vec![Max, MeanSqrtLen],
                true,
            ),
            (
                r#"{"embedding_dimension": 2, "pooling_mode": ["cls"], "pooling_mode_mean_tokens": true}"#,
                vec![Cls],
                true,
            ),
            (
                r#"{"embedding_dimension": 2, "pooling_mode": [["cls", "cls"]]}"#,
                vec![Cls, Cls],
                true,
            ),
            (
                r#"{"embedding_dimension": 2, "pooling_mode": {"max": 1, "cls": 2}}"#,
                vec![Max, Cls],
                true,
            ),
            (r#"{"embedding_dimension": "x", "word_embedding_dimension": null}"#, vec![Mean], true),
        ] {
            assert_eq!(parse(json).expect(json), Pooling { modes, include_prompt }, "{json}");
        }
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for json in [
            "{}",
            r#"{"embedding_dimension": null}"#,
            r#"{"embedding_dimension": 2, "pooling_mode": "median"}"#,
            r#"{"embedding_dimension": 2, "pooling_mode": "sum"}"#,
            r#"{"embedding_dimension": 2, "pooling_mode": []}"#,
            r#"{"embedding_dimension": 2, "pooling_mode": null}"#,
            r#"{"embedding_dimension": 2, "pooling_mode": ["mean", 5]}"#,
            r#"{"embedding_dimension": 2, "whatever": 5}"#,
        ] {
            assert_eq!(parse(json).expect_err(json).code(), "unsupported_model", "{json}");
        }
    }
}
