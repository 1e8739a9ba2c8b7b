//! Weights that fit a configuration. In archives they would take up most of the room and most of the edits.

use embervec_encoder::EncoderSpec;
use embervec_json::{Json, Object};
use serde_json::json;

use crate::archive::Archive;
use crate::random::Random;

/// Values of all tensors; larger models get the weights of [`small_config`], which do not fit. Time is allowed by the
/// bytes of weights, but taken by their product with the tokens of all texts: one of 49,000 takes 1.6 s where all
/// branches are counted.
const MAX_VALUES: usize = 1 << 16;

/// A tensor's name and shape.
pub type Tensor = (String, Vec<usize>);

/// The configuration of a model of 2,000 values.
pub fn small_config() -> EncoderSpec {
    let config = r#"{"model_type": "bert", "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32}"#;
    EncoderSpec::from_json("config.json", config.as_bytes()).expect("a valid configuration")
}

/// The tensors of a BERT encoder.
pub fn encoder_tensors(config: &EncoderSpec) -> Vec<Tensor> {
    let (hidden, intermediate) = (config.hidden_size, config.feed_forward.intermediate_size);
    let mut tensors = Vec::new();
    let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
    add("embeddings.word_embeddings.weight", &[config.vocab_size, hidden]);
    add("embeddings.position_embeddings.weight", &[config.positions.rows, hidden]);
    add("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden]);
    let mut parts = vec![("embeddings.LayerNorm".to_owned(), hidden, None)];
    for layer in 0..config.num_hidden_layers {
        for (part, rows, columns) in [
            ("attention.self.query", hidden, Some(hidden)),
            ("attention.self.key", hidden, Some(hidden)),
            ("attention.self.value", hidden, Some(hidden)),
            ("attention.output.dense", hidden, Some(hidden)),
            ("attention.output.LayerNorm", hidden, None),
            ("intermediate.dense", intermediate, Some(hidden)),
            ("output.dense", hidden, Some(intermediate)),
            ("output.LayerNorm", hidden, None),
        ] {
            parts.push((format!("encoder.layer.{layer}.{part}"), rows, columns));
        }
    }
    parts.push(("pooler.dense".into(), hidden, Some(hidden)));
    for (part, rows, columns) in parts {
        let shape: Vec<usize> = [rows].into_iter().chain(columns).collect();
        add(&format!("{part}.weight"), &shape);
        add(&format!("{part}.bias"), &[rows]);
    }
    tensors
}

/// A safetensors file with these tensors, of values between -1 and 1, in a dtype of as many bytes: 2, 4 or 8.
pub fn safetensors(tensors: &[Tensor], dtype: &str, element_bytes: usize) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * element_bytes;
        header.insert(
            name.clone(),
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }),
        );
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    let mut random = Random::new(end as u64);
    for _ in 0..end / element_bytes {
        let value = random.below(2001) as f32 / 1000.0 - 1.0;
        match (element_bytes, dtype) {
            (8, _) => bytes.extend_from_slice(&f64::from(value).to_le_bytes()),
            // The upper half of an f32.
            (2, "BF16") => bytes.extend_from_slice(&value.to_le_bytes()[2..]),
            (2, _) => bytes.extend_from_slice(&f16_bits(value).to_le_bytes()),
            _ => bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }
    bytes
}

/// Of a value between -1 and 1, rounded towards 0.
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    let magnitude = if exponent > 0 { (exponent as u32) << 10 | bits >> 13 & 0x3ff } else { 0 };
    (bits >> 16 & 0x8000 | magnitude) as u16
}

/// The weight file `path` of the folder in `archive`: its own, or one that fits the `config.json` beside it; `None`
/// where there is none of either.
pub fn weight_file(archive: &Archive, path: &str) -> Option<Vec<u8>> {
    if let Some(content) = archive.get(path) {
        return Some(content.to_vec());
    }
    let (folder, name) = match path.rsplit_once('/') {
        Some((folder, name)) => (format!("{folder}/"), name),
        None => (String::new(), path),
    };
    if archive.get(&format!("{folder}no-weights")).is_some() {
        return None;
    }
    let index = archive.get(&format!("{folder}model.safetensors.index.json"));
    let config = archive.get(&format!("{folder}config.json"));
    let mut tensors = tensors_of(config);
    if let Some(index) = index {
        if name == "model.safetensors" {
            return None;
        }
        let index = Json::parse(index).ok()?;
        let map = index.as_object()?.get("weight_map")?.as_object()?;
        tensors.retain(|(tensor, _)| map.get(tensor).and_then(Json::as_str) == Some(name));
    }
    Some(safetensors(&tensors, "F32", 4))
}

fn tensors_of(config: Option<&[u8]>) -> Vec<Tensor> {
    let json = config.and_then(|config| Json::parse(config).ok());
    let object = json.as_ref().and_then(Json::as_object);
    let tensors = match object {
        None => None,
        Some(entries) if entries.get("in_features").is_some() => dense_tensors(entries),
        Some(entries) if entries.get("dimension").is_some() => size(entries, "dimension")
            .map(|size| vec![("norm.weight".into(), vec![size]), ("norm.bias".into(), vec![size])]),
        Some(_) => {
            let config = EncoderSpec::from_json("", config.unwrap_or_default()).ok();
            // So many layers have a tensor each at least.
            config.filter(|it| it.num_hidden_layers < 8).map(|it| encoder_tensors(&it))
        }
    };
    let count = |(_, shape): &Tensor| {
        shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size)).unwrap_or(MAX_VALUES)
    };
    let is_small = |tensors: &Vec<Tensor>| {
        tensors.iter().map(count).try_fold(0usize, usize::checked_add) < Some(MAX_VALUES)
            && tensors.iter().all(|tensor| count(tensor) < MAX_VALUES)
    };
    tensors.filter(is_small).unwrap_or_else(|| encoder_tensors(&small_config()))
}

fn dense_tensors(entries: &Object) -> Option<Vec<Tensor>> {
    let (rows, columns) = (size(entries, "out_features")?, size(entries, "in_features")?);
    let mut tensors = vec![("linear.weight".into(), vec![rows, columns])];
    if entries.get("bias").is_none_or(Json::is_true) {
        tensors.push(("linear.bias".into(), vec![rows]));
    }
    if entries.get("use_residual").is_some_and(Json::is_true) && rows != columns {
        tensors.push(("residual.weight".into(), vec![rows, columns]));
    }
    Some(tensors)
}

fn size(entries: &Object, key: &str) -> Option<usize> {
    entries.get(key).and_then(Json::as_usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_values() {
        assert_eq!([1.0, -0.5, 0.0, 0.75].map(f16_bits), [0x3c00, 0xb800, 0, 0x3a00]);
    }
}
