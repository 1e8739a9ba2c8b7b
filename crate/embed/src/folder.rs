//! Which files a model folder has, and what they say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// One file of a model folder.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderFile {
    /// Path within the folder, with `/`.
    pub path: String,
    /// Whether the model cannot do without it.
    pub required: bool,
    /// Whether it holds weights: large, and to be read in pieces. The others are small.
    pub weights: bool,
    /// Where a folder may have the same weights in 8 bits, to be taken in place of this file.
    pub packed: Option<String>,
}

/// What a module of `modules.json` does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Module {
    Transformer { path: String },
    Pooling { path: String },
    Dense { path: String },
    Normalize,
}

/// A folder's modules and, from them, its files.
#[derive(Clone, Debug)]
pub struct FolderPlan {
    pub(crate) modules: Vec<Module>,
}

#[derive(Deserialize)]
struct ModuleEntry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

const MODULES_JSON: &str = "modules.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const PACKED_WEIGHTS: &str = "model.q8.safetensors";
const SUPPORTED_MODULES: &str = "Transformer first, then Pooling, Dense, Normalize";

impl FolderPlan {
    /// Reads `modules.json`. A folder without one is a plain Hugging Face model: as in
    /// sentence-transformers, it is the transformer and mean pooling.
    ///
    /// # Errors
    ///
    /// When the file is not what sentence-transformers writes, or names a module that this crate
    /// does not compute.
    pub fn new(modules_json: Option<&[u8]>) -> Result<Self> {
        let Some(json) = modules_json else {
            return Ok(Self { modules: vec![Module::Transformer { path: String::new() }] });
        };
        let entries: Vec<ModuleEntry> = parse_json(MODULES_JSON, json)?;
        let modules = entries.into_iter().map(Module::new).collect::<Result<Vec<_>>>()?;
        let is_transformer = |module: &Module| matches!(module, Module::Transformer { .. });
        if !modules.first().is_some_and(is_transformer) || modules[1..].iter().any(is_transformer) {
            return Err(Error::unsupported(
                MODULES_JSON,
                "this order of modules".into(),
                SUPPORTED_MODULES,
            ));
        }
        Ok(Self { modules })
    }

    /// Every file that a loader wants to see, `modules.json` itself included.
    pub fn files(&self) -> Vec<FolderFile> {
        let file =
            |path: String, required, weights| FolderFile { path, required, weights, packed: None };
        let mut files = vec![
            file(MODULES_JSON.into(), false, false),
            file("config_sentence_transformers.json".into(), false, false),
        ];
        for module in &self.modules {
            match module {
                Module::Transformer { path } => files.extend([
                    file(join(path, "config.json"), true, false),
                    file(join(path, "tokenizer.json"), true, false),
                    file(join(path, "tokenizer_config.json"), false, false),
                    file(join(path, "sentence_bert_config.json"), false, false),
                    FolderFile {
                        packed: Some(join(path, PACKED_WEIGHTS)),
                        ..file(join(path, WEIGHTS), true, true)
                    },
                ]),
                Module::Pooling { path } => {
                    files.push(file(join(path, "config.json"), true, false));
                }
                Module::Dense { path } => files.extend([
                    file(join(path, "config.json"), true, false),
                    file(join(path, WEIGHTS), true, true),
                ]),
                Module::Normalize => {}
            }
        }
        files
    }
}

impl Module {
    fn new(entry: ModuleEntry) -> Result<Self> {
        let path = entry.path;
        let is_plain = |part: &str| part != ".." && part != "." && !part.is_empty();
        if !path.is_empty()
            && (!path.split('/').all(is_plain) || path.contains(['\\', ':', '?', '#']))
        {
            return Err(Error::InvalidFile {
                file: MODULES_JSON.into(),
                problem: format!("\"{path}\" is not a folder within the model folder"),
            });
        }
        // `sentence_transformers.models.Pooling`, and longer paths since version 5.
        match entry.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => Ok(Self::Transformer { path }),
            "Pooling" => Ok(Self::Pooling { path }),
            "Dense" => Ok(Self::Dense { path }),
            "Normalize" => Ok(Self::Normalize),
            _ => Err(Error::unsupported(
                MODULES_JSON,
                format!("module type \"{}\"", entry.kind),
                SUPPORTED_MODULES,
            )),
        }
    }
}

/// The small files of a folder, by path.
#[derive(Debug)]
pub(crate) struct SmallFiles(pub BTreeMap<String, Vec<u8>>);

impl SmallFiles {
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    pub fn require(&self, path: &str) -> Result<&[u8]> {
        self.get(path).ok_or_else(|| Error::MissingFile { file: path.into() })
    }

    /// A JSON file, or the default where there is none.
    pub fn json_or_default<T: DeserializeOwned + Default>(&self, path: &str) -> Result<T> {
        self.get(path).map_or_else(|| Ok(T::default()), |json| parse_json(path, json))
    }

    pub fn require_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        parse_json(path, self.require(path)?)
    }
}

fn parse_json<T: DeserializeOwned>(file: &str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|source| embervec_bert::Error::Json { file: file.into(), source }.into())
}

/// A file of a module's folder; the folder "" is the model's own.
pub(crate) fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.into() } else { format!("{folder}/{file}") }
}

/// `sentence_bert_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SentenceBertConfig {
    #[serde(default)]
    pub max_seq_length: Option<usize>,
    #[serde(default)]
    pub do_lower_case: bool,
}

/// What of `tokenizer_config.json` is not in `tokenizer.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerConfig {
    /// Hugging Face writes 1e30 for "no limit", so it is not always an integer.
    #[serde(default)]
    pub model_max_length: Option<f64>,
}

/// `config_sentence_transformers.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SentenceTransformersConfig {
    /// A prompt may be null: a name without a text.
    #[serde(default)]
    pub prompts: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub default_prompt_name: Option<String>,
    #[serde(default)]
    pub similarity_fn_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<FolderPlan> {
        FolderPlan::new(Some(json.as_bytes()))
    }

    #[test]
    fn the_modules_name_the_files() {
        let plan = plan(
            r#"[{"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#,
        )
        .expect("valid");
        let files = plan.files();
        let packed: Vec<_> = files.iter().filter_map(|file| file.packed.as_deref()).collect();
        assert_eq!(packed, ["0_Transformer/model.q8.safetensors"]);
        let required: Vec<_> =
            files.into_iter().filter(|file| file.required).map(|file| file.path).collect();
        assert_eq!(
            required,
            [
                "0_Transformer/config.json",
                "0_Transformer/tokenizer.json",
                "0_Transformer/model.safetensors",
                "1_Pooling/config.json"
            ]
        );
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused() {
        for path in ["../secret", "/etc", "a//b", "https://example.org/x", "a\\b", "x?y"] {
            let json = serde_json::json!([{"path": path, "type": "models.Transformer"}]);
            let error = plan(&json.to_string()).expect_err(path);
            assert_eq!(error.code(), "integrity");
            assert!(error.to_string().contains("modules.json"), "{error}");
        }
    }

    #[test]
    fn unknown_modules_and_orders_are_unsupported() {
        for json in [
            r#"[{"path": "", "type": "sentence_transformers.models.CLIPModel"}]"#,
            r#"[{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#,
            "[]",
        ] {
            assert_eq!(plan(json).expect_err(json).code(), "unsupported_model");
        }
        assert_eq!(plan("<!doctype html>").expect_err("html").code(), "integrity");
    }
}
