//! `config.json`, as Hugging Face reads it: what all families have in common. What each has of its own is in
//! [`crate::families`].

use embervec_json::{Json, Object};
use embervec_kernels::Activation;
use embervec_weights::limits::{MAX_DIMENSION, MAX_LAYERS};

use crate::families::{Family, jina_bert};
use crate::{EncoderSpec, Error, Result, RotarySpec};

/// Validates the entries of a `config.json`.
pub(crate) fn read(file: &str, object: &Object) -> Result<EncoderSpec> {
    let fields = Fields { file, object };
    let family = fields.family()?;
    let spec = family.read(&fields)?;
    fields.check_others(&spec)?;
    let (hidden, heads) = (spec.hidden_size, spec.attention.num_heads);
    if !hidden.is_multiple_of(heads) {
        return fields.invalid(format!(
            "hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
        ));
    }
    Ok(spec)
}

/// The entries of a `config.json`. transformers writes `{"__float__": "Infinity"}` for a number that JSON cannot
/// express; such an object becomes the number.
pub fn config_object(object: &Object) -> Object {
    let mut entries = Object::default();
    for (key, value) in object.iter() {
        let float = match value.as_object() {
            Some(tagged) if tagged.iter().count() == 1 => {
                tagged.get("__float__").and_then(Json::as_str)
            }
            _ => None,
        };
        let float = match float {
            Some("NaN") => Some(f64::NAN),
            Some("Infinity") => Some(f64::INFINITY),
            Some("-Infinity") => Some(f64::NEG_INFINITY),
            _ => None,
        };
        entries.insert(key, float.map_or_else(|| value.clone(), Json::Float));
    }
    entries
}

/// What transformers' strict dataclasses allow a field to be.
#[derive(Clone, Copy)]
pub(crate) enum Type {
    Int,
    OptionalInt,
    Bool,
    Float,
    Number,
    OptionalNumber,
    Str,
    /// A number, several, or nothing.
    OptionalIntOrList,
}

impl Type {
    fn allows(self, value: &Json) -> bool {
        let is_int = |value: &Json| matches!(value, Json::Int(_) | Json::LongInt(_));
        match (self, value) {
            (Self::OptionalInt | Self::OptionalNumber | Self::OptionalIntOrList, Json::Null) => {
                true
            }
            (Self::Int | Self::OptionalInt, value) => is_int(value),
            (Self::Bool, value) => matches!(value, Json::Bool(_)),
            (Self::Float, value) => matches!(value, Json::Float(_)),
            (Self::Number | Self::OptionalNumber, Json::Float(_)) => true,
            (Self::Number | Self::OptionalNumber, value) => is_int(value),
            (Self::Str, value) => matches!(value, Json::Str(_) | Json::BrokenStr(_)),
            (Self::OptionalIntOrList, Json::List(items)) => items.iter().all(is_int),
            (Self::OptionalIntOrList, value) => is_int(value),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Int => "an integer",
            Self::OptionalInt => "an integer or null",
            Self::Bool => "true or false",
            Self::Float => "a number with a fraction or an exponent",
            Self::Number => "a number",
            Self::OptionalNumber => "a number or null",
            Self::Str => "a string",
            Self::OptionalIntOrList => "an integer, a list of them, or null",
        }
    }
}

/// The fields that nothing else here reads, but transformers checks.
const TYPES: &[(&str, Type)] = &[
    ("hidden_dropout_prob", Type::Number),
    ("attention_probs_dropout_prob", Type::Number),
    ("initializer_range", Type::Float),
    ("pad_token_id", Type::OptionalInt),
    ("use_cache", Type::Bool),
    ("num_labels", Type::Int),
    ("output_hidden_states", Type::Bool),
    ("classifier_dropout", Type::OptionalNumber),
    ("bos_token_id", Type::OptionalInt),
    ("eos_token_id", Type::OptionalIntOrList),
    ("tie_word_embeddings", Type::Bool),
];

/// Names that transformers cannot set on its configurations.
const PYTHONS_OWN: [&str; 5] =
    ["self", "is_heterogeneous", "sub_configs", "to_dict", "use_return_dict"];

/// What a feed-forward block may have.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
];

/// Names that `dtype` may have.
const DTYPES: [&str; 8] =
    ["float32", "float16", "bfloat16", "float64", "float", "half", "double", "auto"];

/// The entries, and the file's path for messages.
pub(crate) struct Fields<'a> {
    file: &'a str,
    object: &'a Object,
}

impl Fields<'_> {
    pub fn invalid<T>(&self, problem: String) -> Result<T> {
        Err(Error::InvalidConfig { file: self.file.into(), problem })
    }

    pub fn unsupported<T>(&self, key: &str, supported: &str) -> Result<T> {
        let value = self.object.get(key).map_or_else(|| "(missing)".into(), Json::to_string);
        Err(Error::Unsupported {
            file: self.file.into(),
            what: format!("{key} {value}"),
            supported: supported.into(),
        })
    }

    /// The value of a field, where it is there and of its type.
    pub fn typed(&self, name: &str, kind: Type) -> Result<Option<&Json>> {
        match self.object.get(name) {
            Some(value) if !kind.allows(value) => {
                self.invalid(format!("{name} is {value}, but must be {}", kind.name()))
            }
            value => Ok(value),
        }
    }

    pub fn size(&self, name: &str, default: usize, limit: usize) -> Result<usize> {
        let Some(value) = self.typed(name, Type::Int)? else { return Ok(default) };
        match value.as_usize() {
            Some(size) if (1..=limit).contains(&size) => Ok(size),
            _ => self.invalid(format!("{name} is {value}, but must be between 1 and {limit}")),
        }
    }

    /// A size of at most `MAX_DIMENSION`.
    pub fn dimension(&self, name: &str, default: usize) -> Result<usize> {
        self.size(name, default, MAX_DIMENSION)
    }

    /// A number of layers.
    pub fn layers(&self, name: &str, default: usize) -> Result<usize> {
        self.size(name, default, MAX_LAYERS)
    }

    /// A size that has two names, of which a file may use either.
    pub fn aliased(
        &self,
        name: &str,
        alias: &str,
        read: fn(&Self, &str, usize) -> Result<usize>,
        default: usize,
    ) -> Result<usize> {
        let size = read(self, name, read(self, alias, default)?)?;
        if read(self, alias, size)? != size {
            return self.unsupported(alias, &format!("the same as {name}, {size}"));
        }
        Ok(size)
    }

    /// The padding token's id, for a family that counts positions from it.
    pub fn padding_id(&self, default: u32) -> Result<u32> {
        match self.object.get("pad_token_id") {
            None => Ok(default),
            Some(&Json::Int(id)) if (0..MAX_DIMENSION as i64).contains(&id) => Ok(id as u32),
            Some(_) => self
                .unsupported("pad_token_id", "the padding token's id, after which positions begin"),
        }
    }

    /// The value of a field, whatever its type.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.object.get(name)
    }

    /// Refuses any other value of a field, where it is there.
    pub fn must_be(
        &self,
        name: &str,
        supported: &str,
        is_it: impl Fn(&Json) -> bool,
    ) -> Result<()> {
        match self.object.get(name) {
            Some(value) if !is_it(value) => self.unsupported(name, supported),
            _ => Ok(()),
        }
    }

    /// Makes positions rotary, and their table go. Of a `head_dim` only the usual one is supported.
    pub fn rotary(
        &self,
        spec: &mut EncoderSpec,
        positions: usize,
        rotary: RotarySpec,
    ) -> Result<()> {
        spec.positions.has_table = false;
        spec.positions.rows = self.dimension("max_position_embeddings", positions)?;
        spec.attention.rotary = Some(rotary);
        self.must_be("partial_rotary_factor", "null", |value| *value == Json::Null)?;
        let head_size = spec.attention_head_size();
        self.check_types(&[("head_dim", Type::OptionalInt)])?;
        let is_usual = |given: &Json| *given == Json::Null || given.as_usize() == Some(head_size);
        self.must_be("head_dim", "hidden_size / num_attention_heads", is_usual)?;
        match head_size.is_multiple_of(2) {
            true => Ok(()),
            false => self.unsupported("num_attention_heads", "heads of an even size"),
        }
    }

    /// The base of rotary positions where all layers have the same.
    pub fn one_rotary_theta(&self, default: f64) -> Result<f64> {
        const NAME: &str = "rope_parameters";
        self.rotary_theta(NAME, self.object.get_some(NAME), "rope_theta", default)
    }

    /// The base of rotary positions, as
    /// [`standardize_rope_params`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/modeling_rope_utils.py#L806)
    /// finds it: in parameters, which are in the field `name`, or in an older field; other kinds than the default are refused.
    pub fn rotary_theta(
        &self,
        name: &str,
        parameters: Option<&Json>,
        older: &str,
        default: f64,
    ) -> Result<f64> {
        const SUPPORTED: &str = r#"{"rope_type": "default", "rope_theta": …}"#;
        self.must_be("rope_scaling", "null", |value| *value == Json::Null)?;
        // Python fails for a null here, unless the parameters say more.
        let mut theta = self.object.get(older);
        let mut found_in = older;
        if let Some(parameters) = parameters {
            let Some(parameters) = parameters.as_object() else {
                return self.unsupported(name, SUPPORTED);
            };
            for (key, value) in parameters.iter() {
                match key {
                    "rope_type" | "type" if value.as_str() == Some("default") => {}
                    "rope_theta" => (theta, found_in) = (Some(value), name),
                    _ => return self.unsupported(name, SUPPORTED),
                }
            }
        }
        self.rotary_number(found_in, theta, default)
    }

    /// A base, or a factor of one.
    pub fn rotary_number(
        &self,
        found_in: &str,
        number: Option<&Json>,
        default: f64,
    ) -> Result<f64> {
        let number = match number {
            None => default,
            Some(&Json::Int(number)) => number as f64,
            Some(&Json::Float(number)) => number,
            // Not a number.
            Some(_) => f64::NAN,
        };
        // Angles are computed in 32 bits.
        match number >= 1.0 && number <= f64::from(f32::MAX) {
            true => Ok(number),
            false => self.unsupported(found_in, "a number of at least 1"),
        }
    }

    /// Makes positions begin behind the padding token's id.
    pub fn count_from_behind(&self, spec: &mut EncoderSpec, padding: u32) -> Result<()> {
        spec.positions.padding = Some(padding);
        if spec.positions.limit() == 0 {
            let rows = spec.positions.rows;
            return self.invalid(format!(
                "max_position_embeddings is {rows}, but must be larger: positions begin after the \
                 padding token's id {padding}"
            ));
        }
        Ok(())
    }

    /// What follows the first linear layer of a feed-forward block, by its name in transformers'
    /// [`ACT2FN`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py#L350).
    pub fn activation(&self, name: &str, default: Activation) -> Result<Activation> {
        let Some(value) = self.typed(name, Type::Str)? else { return Ok(default) };
        let known = ACTIVATIONS.iter().find(|(known, _)| value.as_str() == Some(known));
        match known {
            Some((_, activation)) => Ok(*activation),
            None => {
                let names: Vec<_> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
                self.unsupported(name, &names.join(", "))
            }
        }
    }

    /// Whether something is there that is not by default.
    pub fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.typed(name, Type::Bool)?.is_some_and(Json::is_true))
    }

    /// What is added to the variance in a layer normalisation.
    pub fn epsilon(&self, name: &str, default: f64) -> Result<f64> {
        match self.typed(name, Type::Float)? {
            None => Ok(default),
            // Beyond, nothing is left of a vector.
            Some(&Json::Float(epsilon)) if epsilon.abs() <= f64::from(f32::MAX) => Ok(epsilon),
            Some(value) => self.invalid(format!("{name} is {value}, which is not a 32-bit number")),
        }
    }

    /// The family, and a refusal of what none of them computes.
    fn family(&self) -> Result<Family> {
        let name = self.object.get("model_type").and_then(Json::as_str);
        let Some(mut family) = name.and_then(Family::of_model_type) else {
            return self.unsupported("model_type", &Family::model_types());
        };
        if family == Family::Bert {
            family = jina_bert::which(self).unwrap_or(family);
        }
        self.check_supported(family)?;
        Ok(family)
    }

    fn check_supported(&self, family: Family) -> Result<()> {
        let is = |key: &str, expected: &str| {
            self.object.get(key).is_some_and(|value| value.as_str() == Some(expected))
        };
        // transformers 5 reads it no more and computes as if it were "absolute".
        if self.object.get_some("position_embedding_type").is_some()
            && !is("position_embedding_type", "absolute")
            && !family.has_other_positions()
        {
            return self.unsupported("position_embedding_type", "absolute, or alibi for bert");
        }
        for name in ["is_decoder", "add_cross_attention"] {
            if self.typed(name, Type::Bool)?.is_some_and(Json::is_true) {
                return self.unsupported(name, "false");
            }
        }
        if self.object.get("is_causal").is_some_and(Json::is_true) {
            return self.unsupported("is_causal", "false");
        }
        for name in ["attn_implementation", "_attn_implementation"] {
            if let Some(value) = self.object.get_some(name)
                && !["eager", "sdpa"].iter().any(|known| value.as_str() == Some(known))
                && !(matches!(family, Family::JinaBert | Family::JinaCode)
                    && value.as_str() == Some("torch"))
            {
                return self.unsupported(name, "eager, sdpa");
            }
        }
        if self.object.get_some("experts_implementation").is_some_and(|value| {
            !["eager", "batched_mm", "grouped_mm"].iter().any(|name| value.as_str() == Some(name))
        }) {
            return self.unsupported("experts_implementation", "eager, batched_mm, grouped_mm");
        }
        for name in ["per_layer_config", "attribute_map", "fusion_config"] {
            if self.object.get(name).is_some_and(Json::is_true) {
                return self.unsupported(name, "a file without this entry");
            }
        }
        // Only where it divides every text's number of tokens Python computes with it.
        if let Some(size) = self.typed("chunk_size_feed_forward", Type::Int)?
            && !matches!(size, Json::Int(..=1))
        {
            return self.unsupported("chunk_size_feed_forward", "a file without this entry");
        }
        // Where labels have names, those are counted.
        let has_one_label = match self.object.get_some("id2label").and_then(Json::as_object) {
            Some(labels) => labels.iter().nth(1).is_none(),
            None => matches!(self.object.get("num_labels"), Some(Json::Int(..=1))),
        };
        if has_one_label && is("problem_type", "single_label_classification") {
            return self.unsupported("problem_type", "more than one label");
        }
        let asks_for_attentions = self.object.get("output_attentions").is_some_and(Json::is_true);
        if asks_for_attentions && is("attn_implementation", "sdpa") {
            return self.unsupported("output_attentions", "false");
        }
        for name in PYTHONS_OWN {
            if self.object.get(name).is_some() {
                return self.unsupported(
                    name,
                    "any other name, because the Python class has a member of this name",
                );
            }
        }
        // An older file in the place of this one.
        if self.object.get("configuration_files").is_some_and(|files| *files != Json::List(vec![]))
        {
            return self.unsupported("configuration_files", "a file without this entry");
        }
        match self.object.get("auto_map") {
            None => {}
            Some(Json::Object(classes)) if classes.get("AutoProcessor").is_none() => {}
            Some(_) => return self.unsupported("auto_map", "a file without this entry"),
        }
        for name in ["quantization_config", "transformers_weights"] {
            if self.object.get_some(name).is_some() {
                return self.unsupported(name, "a file without this entry");
            }
        }
        Ok(())
    }

    /// Refuses values of types that transformers refuses.
    pub fn check_types(&self, types: &[(&str, Type)]) -> Result<()> {
        types.iter().try_for_each(|&(name, kind)| self.typed(name, kind).map(drop))
    }

    /// A share between 0 and 1 of what a dropout leaves out.
    pub fn check_share(&self, name: &str) -> Result<()> {
        match self.object.get(name) {
            Some(Json::Int(0..=1)) | None => Ok(()),
            Some(Json::Float(share)) if (0.0..=1.0).contains(share) => Ok(()),
            Some(value) => self.invalid(format!("{name} is {value}, but must be between 0 and 1")),
        }
    }

    /// What transformers refuses, though nothing here is computed with it.
    fn check_others(&self, spec: &EncoderSpec) -> Result<()> {
        self.check_types(TYPES)?;
        for name in ["hidden_dropout_prob", "attention_probs_dropout_prob"] {
            self.check_share(name)?;
        }
        if let Some(id) = self.object.get_some("pad_token_id") {
            // `padding_idx` of torch.nn.Embedding, which counts from the end where it is negative.
            let rows = spec.vocab_size as i64;
            if !matches!(id, Json::Int(id) if (-rows..rows).contains(id)) {
                return self.invalid(format!(
                    "pad_token_id {id} is outside the vocabulary of {rows} tokens"
                ));
            }
        }
        match self.object.get_some("id2label") {
            None => {}
            Some(Json::Object(labels)) => {
                if let Some((id, _)) =
                    labels.iter().find(|(id, _)| id.trim().parse::<i64>().is_err())
                {
                    return self
                        .invalid(format!("id2label has the id \"{id}\", which is not an integer"));
                }
            }
            Some(value) => {
                return self.invalid(format!("id2label is {value}, but must be an object"));
            }
        }
        // Who has other layers has read them.
        if let Some(types) =
            self.object.get_some("layer_types").filter(|_| spec.attention.local.is_none())
        {
            let is_sound = types.as_list().is_some_and(|types| {
                types.len() == spec.num_hidden_layers
                    && types.iter().all(|kind| kind.as_str() == Some("full_attention"))
            });
            if !is_sound {
                return self.unsupported("layer_types", "full_attention for every layer");
            }
        }
        for name in ["dtype", "torch_dtype"] {
            let is_known = |value: &Json| {
                value.as_str().is_some_and(|name| DTYPES.contains(&name))
                    || value.as_object().is_some()
            };
            if self.object.get_some(name).is_some_and(|value| !is_known(value)) {
                return self.unsupported(name, &DTYPES.join(", "));
            }
        }
        if self
            .object
            .get("per_layer_config")
            .is_some_and(|value| !matches!(value, Json::Null | Json::Object(_)))
        {
            return self.unsupported("per_layer_config", "a file without this entry");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<EncoderSpec> {
        EncoderSpec::from_json("config.json", json.as_bytes())
    }

    #[test]
    fn missing_fields_have_hugging_faces_defaults() {
        let config = parse(r#"{"model_type": "bert"}"#).expect("valid");
        assert_eq!(config.hidden_size, 768);
        assert_eq!(config.attention_head_size(), 64);
        assert_eq!(config.layer_norm.epsilon, 1e-12);
    }

    #[test]
    fn what_is_not_supported_is_named_with_what_is() {
        for (json, word) in [
            (r#"{"model_type": "gpt2"}"#, "gpt2"),
            (r#"{}"#, "model_type"),
            (r#"{"model_type": "bert", "hidden_act": "mish"}"#, "mish"),
            (
                r#"{"model_type": "bert", "position_embedding_type": "relative_key"}"#,
                "relative_key",
            ),
            (r#"{"model_type": "bert", "is_decoder": true}"#, "is_decoder"),
            (r#"{"model_type": "bert", "per_layer_config": {"0": {}}}"#, "per_layer_config"),
            (r#"{"model_type": "bert", "dtype": "quarter"}"#, "quarter"),
            (
                r#"{"model_type": "bert", "id2label": {"0": "a"}, "problem_type": "single_label_classification"}"#,
                "problem_type",
            ),
        ] {
            let error = parse(json).expect_err(json);
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains(word), "{error}");
            assert!(error.to_string().contains("supported:"), "{error}");
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        for field in [
            r#""hidden_size": 0"#,
            r#""hidden_size": 770"#,
            r#""hidden_size": -3"#,
            r#""hidden_size": 768.0"#,
            r#""hidden_size": "768""#,
            r#""hidden_size": null"#,
            r#""hidden_size": true"#,
            r#""num_hidden_layers": 1000000000"#,
            r#""vocab_size": 99999999999"#,
            r#""vocab_size": 99999999999999999999999"#,
            r#""layer_norm_eps": 1e300"#,
            r#""layer_norm_eps": 1"#,
            r#""layer_norm_eps": NaN"#,
            r#""layer_norm_eps": {"__float__": "Infinity"}"#,
            r#""hidden_act": null"#,
            r#""use_cache": 1"#,
            r#""initializer_range": 1"#,
            r#""eos_token_id": ["a"]"#,
        ] {
            let error = parse(&format!(r#"{{"model_type": "bert", {field}}}"#)).expect_err(field);
            assert!(matches!(error, Error::InvalidConfig { .. }), "{error}");
        }
        assert!(matches!(parse("[]"), Err(Error::InvalidConfig { .. })));
        assert!(matches!(parse("<!doctype html>"), Err(Error::InvalidConfig { .. })));
    }

    #[test]
    fn values_that_python_writes_are_read() {
        for field in [
            r#""initializer_range": Infinity"#,
            r#""initializer_range": {"__float__": "NaN"}"#,
            r#""hidden_dropout_prob": 0"#,
            r#""eos_token_id": [1, 2]"#,
            r#""pad_token_id": null"#,
            r#""hidden_size": 5, "hidden_size": 768"#,
            r#""whatever": {"a": [1, 2.5, null]}"#,
        ] {
            parse(&format!(r#"{{"model_type": "bert", {field}}}"#)).expect(field);
        }
    }
}
