//! Weights that are spread over several files: `model.safetensors.index.json` says which.
//!
//! Format: [`save_pretrained`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/modeling_utils.py)
//! writes `{"metadata": {…}, "weight_map": {"<tensor>": "<file>", …}}`.

use embervec_json::Json;

use crate::header::{Header, write_header};
use crate::limits::MAX_SHARDS;
use crate::{Error, Result};

/// The files that an index lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Shards {
    /// In the order of their names, each once.
    pub files: Vec<String>,
}

impl Shards {
    /// Reads the index `file`.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for an invalid index, and for one that names a file outside its own folder.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        let damaged = |problem: String| Error::Damaged { file: file.into(), problem };
        let index = Json::parse(json).map_err(|error| damaged(error.to_string()))?;
        let map = index.as_object().and_then(|index| index.get("weight_map")?.as_object());
        let map = map.ok_or_else(|| damaged("it has no \"weight_map\"".into()))?;
        let mut files = Vec::new();
        for (tensor, path) in map.iter() {
            let name = path.as_str().filter(|name| is_plain_name(name));
            let name = name.ok_or_else(|| {
                damaged(format!(
                    "it places tensor \"{tensor}\" in {path}, which is not a file in the same folder"
                ))
            })?;
            files.push(name.to_owned());
        }
        files.sort_unstable();
        files.dedup();
        if files.is_empty() || files.len() > MAX_SHARDS {
            let count = files.len();
            return Err(damaged(format!(
                "it names {count} files, but must name 1 to {MAX_SHARDS}"
            )));
        }
        Ok(Self { files })
    }
}

fn is_plain_name(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// Merges the headers of several files into the header of one file with all their tensors. The tensors' bytes of each
/// file follow it, in the same order.
pub fn merge_headers(headers: &[Header]) -> Vec<u8> {
    let entries = headers.iter().flat_map(|header| &header.entries);
    let tensors = entries.map(|entry| (entry.name.clone(), entry.dtype, entry.shape.clone()));
    write_header(tensors, serde_json::json!({ "format": "pt" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Shards> {
        Shards::from_json("model.safetensors.index.json", json.as_bytes())
    }

    #[test]
    fn every_file_comes_once() {
        let shards = read(
            r#"{"metadata": {}, "weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#,
        );
        assert_eq!(shards.expect("valid").files, ["m-1.safetensors", "m-2.safetensors"]);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for json in [
            "",
            "[]",
            "{}",
            r#"{"weight_map": {}}"#,
            r#"{"weight_map": {"a": 1}}"#,
            r#"{"weight_map": {"a": "../m.safetensors"}}"#,
            r#"{"weight_map": {"a": "/m.safetensors"}}"#,
            r#"{"weight_map": {"a": "m.bin"}}"#,
            r#"{"weight_map": {"a": ".safetensors"}}"#,
        ] {
            let error = read(json).expect_err(json).to_string();
            assert!(error.starts_with("model.safetensors.index.json is damaged: "), "{error}");
        }
        let many: String = (0..1025).map(|i| format!("\"{i}\": \"{i}.safetensors\",")).collect();
        assert!(read(&format!("{{\"weight_map\": {{{many} \"a\": \"a.safetensors\"}}}}")).is_err());
    }
}
