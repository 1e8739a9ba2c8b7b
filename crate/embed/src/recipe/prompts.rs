//! `config_sentence_transformers.json`: prompts, the similarity and a number of dimensions.
//!
//! As [`SentenceTransformer._parse_model_config`] reads it.
//!
//! [`SentenceTransformer._parse_model_config`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/model.py#L1295

use embervec_json::{Json, Object};

use crate::embedder::Task;
use crate::folder::{CONFIG_SENTENCE_TRANSFORMERS, Folder};
use crate::{Error, Result};

/// What is put before texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prompts {
    /// By name. A value that is no string fails where it is used.
    texts: Object,
    default: Option<String>,
}

/// The settings of a sentence-transformers folder as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelSettings {
    pub prompts: Prompts,
    /// The similarity that the model was trained for.
    pub similarity: &'static str,
    /// How many dimensions are kept. A negative number says how many of the last ones are dropped.
    pub truncate_dim: Option<i64>,
}

const SIMILARITIES: [&str; 4] = ["cosine", "dot", "euclidean", "manhattan"];

impl ModelSettings {
    /// Of a folder that has none.
    pub fn plain() -> Self {
        Self { prompts: Prompts::none(), similarity: SIMILARITIES[0], truncate_dim: None }
    }

    pub fn read(folder: &Folder) -> Result<Self> {
        let files = folder.files("");
        let Some(config) = files.object(CONFIG_SENTENCE_TRANSFORMERS)? else {
            return Ok(Self::plain());
        };
        if let Some(requirements @ Json::Object(_)) = config.get("requirements")
            && requirements.is_true()
        {
            let what = format!("requirements {requirements}");
            return Err(unsupported(&what, "a file without requirements on Python packages"));
        }
        check_version(&config)?;
        let name = config.get("similarity_fn_name").and_then(Json::as_str);
        // Of another name nothing is taken.
        let similarity = SIMILARITIES.into_iter().find(|known| Some(*known) == name);
        let truncate_dim = match config.get_some("truncate_dim") {
            None => None,
            Some(&(Json::Int(0) | Json::Bool(false))) => {
                return Err(invalid("truncate_dim is 0, which leaves no dimensions".into()));
            }
            Some(&Json::Int(dimensions)) => Some(dimensions),
            Some(&Json::Bool(true)) => Some(1),
            Some(&Json::LongInt(dimensions)) => {
                Some(if dimensions < 0.0 { i64::MIN } else { i64::MAX })
            }
            Some(value) => {
                return Err(invalid(format!("truncate_dim {value} is not a whole number")));
            }
        };
        Ok(Self {
            prompts: Prompts::read(&config)?,
            similarity: similarity.unwrap_or(SIMILARITIES[0]),
            truncate_dim,
        })
    }
}

/// Python looks whether the folder is of a later version than its own, and fails where there is no version.
fn check_version(config: &Object) -> Result<()> {
    let Some(versions) = config.get("__version__") else { return Ok(()) };
    let key = "sentence_transformers";
    let is_sound = match versions {
        Json::Object(versions) => {
            versions.get(key).is_none_or(|version| version.as_str().is_some_and(is_version))
        }
        Json::List(items) => items.iter().all(|item| item.as_str() != Some(key)),
        Json::Str(text) => !text.contains(key),
        _ => false,
    };
    if is_sound {
        Ok(())
    } else {
        Err(invalid(format!("__version__ {versions} does not name a version")))
    }
}

/// Whether a text is a version as of <https://packaging.python.org/en/latest/specifications/version-specifiers/>, nearly: a
/// number, and behind it only what a version may hold.
fn is_version(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['v', 'V']);
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+!".contains(c))
}

impl Prompts {
    fn none() -> Self {
        let mut texts = Object::default();
        for task in ["query", "document"] {
            texts.insert(task, Json::Null);
        }
        Self { texts, default: None }
    }

    fn read(config: &Object) -> Result<Self> {
        let mut prompts = Self::none();
        match config.get("prompts") {
            None => {}
            Some(Json::Object(texts)) => {
                texts.iter().for_each(|(name, text)| prompts.texts.insert(name, text.clone()));
            }
            Some(value) => return Err(invalid(format!("prompts {value} must be an object"))),
        }
        // Python asks for their lengths.
        for task in ["query", "document"] {
            if let Some(prompt) = prompts.texts.get(task)
                && !matches!(
                    prompt,
                    Json::Null
                        | Json::Str(_)
                        | Json::BrokenStr(_)
                        | Json::List(_)
                        | Json::Object(_)
                )
            {
                return Err(invalid(format!(
                    "the prompt \"{task}\" is {prompt}, which is not a string"
                )));
            }
        }
        if let Some(name) = config.get_some("default_prompt_name") {
            let known = name.as_str().filter(|name| prompts.texts.get(name).is_some());
            prompts.default = Some(known.map(str::to_owned).ok_or_else(|| {
                invalid(format!("default_prompt_name {name} is not one of its prompts"))
            })?);
        }
        Ok(prompts)
    }

    /// The prompts that are texts, by name.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().filter_map(|(name, text)| match text {
            Json::Null => Some((name, "")),
            Json::Str(text) | Json::BrokenStr(text) => Some((name, text)),
            _ => None,
        })
    }

    /// What a call puts before its texts: its own prompt, else the one that it names, else its task's, else the default.
    pub fn resolve(
        &self,
        prompt: Option<&str>,
        name: Option<&str>,
        task: Option<Task>,
    ) -> Result<String> {
        if let Some(prompt) = prompt {
            return Ok(prompt.into());
        }
        let task = task.map(|task| match task {
            Task::Query => "query",
            Task::Document => "document",
        });
        let Some(name) = name.or(task).or(self.default.as_deref()) else {
            return Ok(String::new());
        };
        match self.texts.get(name) {
            Some(Json::Str(text)) => Ok(text.clone()),
            // Python asks whether there is one: `if prompt:`.
            Some(value) if !value.is_true() => Ok(String::new()),
            Some(value) => {
                Err(invalid(format!("the prompt \"{name}\" is {value}, which is not a string")))
            }
            None => {
                let names: Vec<_> = self.texts.iter().map(|(name, _)| name).collect();
                Err(Error::InvalidInput(format!(
                    "promptName \"{name}\" does not exist; this model has {}",
                    names.join(", ")
                )))
            }
        }
    }
}

fn invalid(problem: String) -> Error {
    Error::invalid(CONFIG_SENTENCE_TRANSFORMERS, problem)
}

fn unsupported(what: &str, supported: &str) -> Error {
    Error::unsupported(CONFIG_SENTENCE_TRANSFORMERS, what, supported)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Result<ModelSettings> {
        let mut folder = Folder::default();
        folder.put(CONFIG_SENTENCE_TRANSFORMERS, json.into())?;
        ModelSettings::read(&folder)
    }

    #[test]
    fn query_and_document_are_always_there_and_never_the_default() {
        let all = r#"{"prompts": {"query": "q: ", "passage": "p: ", "x": "x: ", "document": null}, "default_prompt_name": "x"}"#;
        let prompts = settings(all).expect("valid").prompts;
        let resolve = |prompt, name, task| prompts.resolve(prompt, name, task).expect("there");
        assert_eq!(resolve(None, None, None), "x: ");
        assert_eq!(resolve(None, None, Some(Task::Query)), "q: ");
        assert_eq!(resolve(None, None, Some(Task::Document)), "");
        assert_eq!(resolve(None, Some("passage"), Some(Task::Query)), "p: ");
        assert_eq!(resolve(Some(""), Some("passage"), Some(Task::Query)), "");
        assert_eq!(resolve(Some("mine "), None, None), "mine ");
        let error = prompts.resolve(None, Some("nothing"), None).expect_err("unknown");
        assert!(error.to_string().contains("query, document, passage, x"), "{error}");
        let names: Vec<_> = prompts.texts().collect();
        assert_eq!(names, [("query", "q: "), ("document", ""), ("passage", "p: "), ("x", "x: ")]);
        let none = settings("{}").expect("valid").prompts;
        assert_eq!(none, Prompts::none());
        assert_eq!(none.resolve(None, None, Some(Task::Query)).expect("there"), "");
    }

    #[test]
    fn a_prompt_that_is_no_text_fails_where_it_is_used() {
        let prompts = settings(
            r#"{"prompts": {"query": ["x"], "document": [], "other": 5, "broken": "\ud83d"}}"#,
        )
        .expect("valid")
        .prompts;
        for name in ["query", "other", "broken"] {
            assert!(prompts.resolve(None, Some(name), None).is_err());
        }
        assert_eq!(prompts.resolve(None, None, Some(Task::Document)).expect("falsy"), "");
        assert_eq!(prompts.resolve(None, None, None).expect("none"), "");
    }

    #[test]
    fn what_is_no_setting_is_refused_and_an_unknown_similarity_is_cosine() {
        for json in [
            r#"{"prompts": []}"#,
            r#"{"prompts": null}"#,
            r#"{"prompts": {"query": 0}}"#,
            r#"{"prompts": {"document": false}}"#,
            r#"{"truncate_dim": 0}"#,
            r#"{"default_prompt_name": "x"}"#,
            r#"{"default_prompt_name": 5}"#,
            r#"{"truncate_dim": 1.5}"#,
            r#"{"truncate_dim": "8"}"#,
            r#"{"requirements": {"peft": ">=0.18"}}"#,
            r#"{"__version__": null}"#,
            r#"{"__version__": {"sentence_transformers": "new"}}"#,
            r#"{"__version__": {"sentence_transformers": 5}}"#,
            "[]",
        ] {
            assert_eq!(settings(json).expect_err(json).code(), "unsupported_model", "{json}");
        }
        for (json, similarity, truncate_dim) in [
            (r#"{"similarity_fn_name": "dot", "truncate_dim": null}"#, "dot", None),
            (r#"{"similarity_fn_name": "maxsim", "truncate_dim": 8}"#, "cosine", Some(8)),
            (r#"{"similarity_fn_name": 5, "requirements": {}}"#, "cosine", None),
            (
                r#"{"__version__": {"sentence_transformers": "5.1.0.dev0", "pytorch": 3}}"#,
                "cosine",
                None,
            ),
            (r#"{"whatever": 5}"#, "cosine", None),
        ] {
            let settings = settings(json).expect(json);
            assert_eq!((settings.similarity, settings.truncate_dim), (similarity, truncate_dim));
        }
    }
}
