//! The Transformer's own options: `sentence_bert_config.json`, and what they change of `config.json` and the tokenizer.
//!
//! As [`Transformer.__init__`] takes and [`Transformer.preprocess`] uses them.
//!
//! [`Transformer.__init__`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/transformer.py#L776
//! [`Transformer.preprocess`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/modules/transformer.py#L1230

use embervec_encoder::{EncoderSpec, config_object};
use embervec_json::{Json, Object};
use embervec_tokenizer::{Files, Limit, Tokenizer, TokenizerOptions};

use crate::embedder::Task;
use crate::folder::{Folder, join};
use crate::{Error, Result};

/// Names of the file with the options: the first that is there and says something counts.
pub(crate) const CONFIG_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

const CONFIG: &str = "config.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Options that decide nothing here: which kernels Python uses, and how a padded batch looks.
const IGNORED: [&str; 2] = ["backend", "unpad_inputs"];

/// Options of Hugging Face's loaders that sentence-transformers always sets itself.
const HUB_OPTIONS: [&str; 6] =
    ["subfolder", "token", "cache_dir", "revision", "local_files_only", "trust_remote_code"];

/// Options of each group, with their older name, which counts more.
const GROUPS: [(&str, &str); 3] = [
    ("model_kwargs", "model_args"),
    ("processor_kwargs", "tokenizer_args"),
    ("config_kwargs", "config_args"),
];

/// Features that the encoder itself or a later module reads.
const RESERVED_NAMES: [&str; 10] = [
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "modality",
    "prompt_length",
    "cls_token_embeddings",
    "token_weights_sum",
    "cu_seq_lens_q",
    "seq_idx",
    "all_layer_embeddings",
];

/// Refuses a feature's name that would change what modules read beside it.
pub(crate) fn check_feature(file: &str, key: &str, name: &str) -> Result<()> {
    if RESERVED_NAMES.contains(&name) {
        let what = format!("{key} \"{name}\"");
        return Err(Error::unsupported(
            file,
            what,
            "token_embeddings, sentence_embedding, custom names",
        ));
    }
    Ok(())
}

/// Whether a file with options is passed over for the next one.
pub(crate) fn says_nothing(json: &[u8]) -> bool {
    Json::parse(json).is_ok_and(|json| !json.is_true())
}

/// What the encoder gives for a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EncoderOutput {
    LastHiddenState,
    PoolerOutput,
}

/// The Transformer of a folder, its weights apart.
#[derive(Debug)]
pub(crate) struct Transformer {
    pub spec: EncoderSpec,
    pub tokenizer: Tokenizer,
    pub limits: Limits,
    pub output: EncoderOutput,
    /// The name of the feature that it makes.
    pub output_name: String,
    /// Whether `config.json` says that the model was made to continue texts.
    pub is_causal: bool,
}

/// How many tokens a text may have: in any call, and as a query or a document.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    any: Limit,
    query: Option<Limit>,
    document: Option<Limit>,
}

impl Limits {
    /// The same for all tasks.
    pub fn of_all(limit: Limit) -> Self {
        Self { any: limit, query: None, document: None }
    }

    pub fn of(&self, task: Option<Task>) -> &Limit {
        let own = match task {
            None => &None,
            Some(Task::Query) => &self.query,
            Some(Task::Document) => &self.document,
        };
        own.as_ref().unwrap_or(&self.any)
    }
}

impl Transformer {
    /// Of a folder whose modules are named.
    pub fn read(folder: &Folder, path: &str) -> Result<Self> {
        let files = folder.files(path);
        let mut options = Options::default();
        for name in CONFIG_FILES {
            if let Some(json) = files.json(name)?
                && json.is_true()
            {
                options = Options::read(&files, name, &json)?;
                break;
            }
        }
        options.build(folder, path)
    }

    /// Of a plain folder, in which nothing but transformers' own files counts.
    pub fn read_plain(folder: &Folder) -> Result<Self> {
        let files = folder.files("");
        let config = files.object(TOKENIZER_CONFIG)?.unwrap_or_default();
        let chat = "a folder without a chat template, or with a modules.json";
        if let Some(template) = config.get_some("chat_template") {
            let what = format!("chat_template {template}");
            return Err(Error::unsupported(TOKENIZER_CONFIG, what, chat));
        }
        let template = "chat_template.jinja";
        if folder.get(template).is_some() {
            return Err(Error::unsupported(template, "a chat template", chat));
        }
        Options::default().build(folder, "")
    }
}

/// The entries of the file with the options.
#[derive(Debug)]
struct Options {
    /// Its path, for messages.
    file: String,
    processor_kwargs: Object,
    config_kwargs: Object,
    max_seq_length: Option<Json>,
    do_lower_case: bool,
    query_length: Option<Json>,
    document_length: Option<Json>,
    call: CallOptions,
    output: EncoderOutput,
    output_name: String,
}

/// What every call of the tokenizer is told: `processing_kwargs`.
#[derive(Debug)]
struct CallOptions {
    max_length: Option<Json>,
    is_truncated: bool,
    add_special_tokens: bool,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { max_length: None, is_truncated: true, add_special_tokens: true }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file: CONFIG_FILES[0].into(),
            processor_kwargs: Object::default(),
            config_kwargs: Object::default(),
            max_seq_length: None,
            do_lower_case: false,
            query_length: None,
            document_length: None,
            call: CallOptions::default(),
            output: EncoderOutput::LastHiddenState,
            output_name: "token_embeddings".into(),
        }
    }
}

impl Options {
    fn read(files: &Files, name: &str, json: &Json) -> Result<Self> {
        let Json::Object(entries) = json else {
            return Err(files.invalid(name, format!("is {json}, but must be an object")).into());
        };
        let options = Self { file: files.path(name), ..Self::default() };
        let reader = Reader { file: &options.file, entries };
        reader.refuse_what_is_not_computed()?;
        let [model_kwargs, processor_kwargs, config_kwargs] = reader.groups()?;
        reader.check_model_kwargs(&model_kwargs)?;
        // Python takes these for the name of a class and of a file.
        for key in ["tokenizer_type", "tokenizer_file"] {
            if let Some(value) = processor_kwargs.get_some(key) {
                return Err(reader.unsupported(
                    &format!("processor_kwargs: {key}"),
                    value,
                    "a file without this entry",
                ));
            }
        }
        if let Some(name) = config_kwargs.get("model_type") {
            return Err(reader.unsupported(
                "config_kwargs: model_type",
                name,
                "a file without this entry",
            ));
        }
        let (output, output_name) = reader.output()?;
        let call = reader.call_options()?;
        let value = |key: &str| entries.get_some(key).cloned();
        Ok(Self {
            processor_kwargs,
            config_kwargs,
            max_seq_length: value("max_seq_length"),
            do_lower_case: entries.get("do_lower_case").is_some_and(Json::is_true),
            query_length: value("query_length"),
            document_length: value("document_length"),
            call,
            output,
            output_name,
            ..options
        })
    }

    fn build(self, folder: &Folder, path: &str) -> Result<Transformer> {
        let files = folder.files(path);
        let config_file = join(path, CONFIG);
        let entries = files.object(CONFIG)?.ok_or_else(|| Error::missing(&config_file))?;
        let mut entries = config_object(&entries);
        for (key, value) in self.config_kwargs.iter() {
            entries.insert(key, value.clone());
        }
        let spec = EncoderSpec::from_config(&config_file, &entries)?;
        let architecture = match entries.get("architectures") {
            Some(Json::List(names)) => names.first().and_then(Json::as_str),
            _ => None,
        };
        let is_causal = architecture.is_some_and(|name| name.ends_with("ForCausalLM"))
            && entries.get("is_causal").is_none_or(Json::is_true);
        let max_seq_length = match self.processor_kwargs.get("model_max_length") {
            None => self.max_seq_length.as_ref(),
            given => given,
        };
        let tokenizer = Tokenizer::new(
            &files,
            &TokenizerOptions {
                overrides: self.processor_kwargs.clone(),
                config_class: entries.get("tokenizer_class"),
                default_class: spec.family.tokenizer_class(),
                lowercase: self.do_lower_case,
                max_seq_length,
                max_positions: spec.positions.limit(),
                add_special_tokens: self.call.add_special_tokens,
            },
        )?;
        let limits = self.limits(tokenizer.limit());
        let Self { output, output_name, .. } = self;
        Ok(Transformer { spec, tokenizer, limits, output, output_name, is_causal })
    }

    fn limits(&self, own: &Limit) -> Limits {
        if !self.call.is_truncated {
            return Limits::of_all(Limit::None);
        }
        // What is said for all calls counts more than what is said for a task.
        if let Some(length) = &self.call.max_length {
            return Limits::of_all(Limit::of(length));
        }
        Limits {
            any: own.clone(),
            query: self.query_length.as_ref().map(Limit::of),
            document: self.document_length.as_ref().map(Limit::of),
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    entries: &'a Object,
}

impl Reader<'_> {
    fn unsupported(&self, key: &str, value: &Json, supported: &str) -> Error {
        Error::unsupported(self.file, format!("{key} {value}"), supported)
    }

    fn invalid(&self, key: &str, value: &Json, problem: &str) -> Error {
        Error::invalid(self.file, format!("{key} {value} {problem}"))
    }

    fn refuse_what_is_not_computed(&self) -> Result<()> {
        for (key, value) in self.entries.iter() {
            match key {
                "max_seq_length" | "do_lower_case" | "query_length" | "document_length"
                | "modality_config" | "module_output_name" | "processing_kwargs" => {}
                "transformer_task" if value.as_str() == Some("feature-extraction") => {}
                "transformer_task" => {
                    return Err(self.unsupported(key, value, "feature-extraction"));
                }
                "query_expansion" | "tokenizer_name_or_path" | "cache_dir"
                    if *value == Json::Null => {}
                "query_expansion" | "tokenizer_name_or_path" | "cache_dir" => {
                    return Err(self.unsupported(key, value, "null"));
                }
                _ if IGNORED.contains(&key) => {}
                _ if GROUPS.iter().any(|(new, old)| [new, old].contains(&&key)) => {}
                _ => {
                    return Err(self.invalid(
                        key,
                        value,
                        "is not an option of the Transformer module",
                    ));
                }
            }
        }
        Ok(())
    }

    fn groups(&self) -> Result<[Object; 3]> {
        let mut groups = GROUPS.map(|_| Object::default());
        for ((new, old), group) in GROUPS.iter().zip(&mut groups) {
            let key = if self.entries.get(old).is_some() { old } else { new };
            let Some(value) = self.entries.get(key) else { continue };
            let entries =
                value.as_object().ok_or_else(|| self.invalid(key, value, "must be an object"))?;
            *group = entries.clone();
            for key in HUB_OPTIONS {
                group.remove(key);
            }
        }
        Ok(groups)
    }

    /// Of what is passed to the model's class, only what changes no vector.
    fn check_model_kwargs(&self, kwargs: &Object) -> Result<()> {
        for (key, value) in kwargs.iter() {
            let is_harmless = match key {
                "attn_implementation" => matches!(value.as_str(), Some("eager" | "sdpa")),
                "dtype" | "torch_dtype" => matches!(value.as_str(), Some("float32" | "auto")),
                "low_cpu_mem_usage" | "use_safetensors" => *value == Json::Bool(true),
                "add_pooling_layer" => matches!(value, Json::Bool(_)),
                _ => false,
            };
            if !is_harmless {
                let supported = "attn_implementation \"eager\" or \"sdpa\", dtype \"float32\"";
                return Err(self.unsupported(&format!("model_kwargs: {key}"), value, supported));
            }
        }
        Ok(())
    }

    /// `modality_config` and `module_output_name`: the latter counts only beside the first.
    fn output(&self) -> Result<(EncoderOutput, String)> {
        let default = Options::default();
        let Some(config) = self.entries.get("modality_config") else {
            return Ok((default.output, default.output_name));
        };
        let modalities = config
            .as_object()
            .ok_or_else(|| self.invalid("modality_config", config, "must be an object"))?;
        let is_known = |key: &str| ["text", "image", "audio", "video", "message"].contains(&key);
        for (key, params) in modalities.iter().filter(|(key, _)| is_known(key)) {
            let entry = params.as_object();
            if !entry.is_some_and(|entry| {
                ["method", "method_output_name"].iter().all(|key| entry.get(key).is_some())
            }) {
                return Err(self.invalid(
                    &format!("modality_config: {key}"),
                    params,
                    "must have a method and a method_output_name",
                ));
            }
            if key != "text" {
                return Err(self.unsupported("modality_config", config, "text"));
            }
        }
        let Some(text) = modalities.get("text").and_then(Json::as_object) else {
            return Err(self.unsupported("modality_config", config, "text"));
        };
        if text.get("method").and_then(Json::as_str) != Some("forward") {
            return Err(self.unsupported("modality_config", config, "the method forward"));
        }
        let output = match text.get("method_output_name") {
            Some(Json::List(names)) if names.len() == 1 => names[0].as_str(),
            Some(name) => name.as_str(),
            None => None,
        };
        let output = match output {
            Some("last_hidden_state") => EncoderOutput::LastHiddenState,
            Some("pooler_output") => EncoderOutput::PoolerOutput,
            _ => {
                let supported = "the output last_hidden_state or pooler_output";
                return Err(self.unsupported("modality_config", config, supported));
            }
        };
        match self.entries.get("module_output_name") {
            Some(Json::Str(name)) => {
                check_feature(self.file, "module_output_name", name)?;
                Ok((output, name.clone()))
            }
            Some(value) => Err(self.invalid("module_output_name", value, "is not a name")),
            None => Err(Error::invalid(
                self.file,
                "there is a modality_config, but no module_output_name",
            )),
        }
    }

    fn call_options(&self) -> Result<CallOptions> {
        let mut call = CallOptions::default();
        let Some(kwargs) =
            self.entries.get_some("processing_kwargs").filter(|value| value.is_true())
        else {
            return Ok(call);
        };
        let groups = kwargs
            .as_object()
            .ok_or_else(|| self.invalid("processing_kwargs", kwargs, "must be an object"))?;
        // The second counts more where both speak of the same.
        for name in ["text", "common"] {
            let Some(group) = groups.get(name) else { continue };
            if name == "text" && !group.is_true() {
                continue;
            }
            let entries = group.as_object().ok_or_else(|| {
                self.invalid(&format!("processing_kwargs: {name}"), group, "must be an object")
            })?;
            for (key, value) in entries.iter() {
                match (key, value) {
                    ("max_length", Json::Null) => call.max_length = None,
                    ("max_length", value) => call.max_length = Some(value.clone()),
                    ("truncation", Json::Bool(flag)) => call.is_truncated = *flag,
                    ("truncation", Json::Str(how))
                        if ["longest_first", "only_first"].contains(&&**how) =>
                    {
                        call.is_truncated = true;
                    }
                    ("truncation", Json::Str(how)) if how == "do_not_truncate" => {
                        call.is_truncated = false;
                    }
                    // Without a neighbour there is nothing to pad.
                    ("padding", Json::Bool(true)) => {}
                    ("padding", Json::Bool(false)) => {}
                    ("padding", Json::Str(how)) if ["longest", "do_not_pad"].contains(&&**how) => {}
                    ("add_special_tokens", Json::Bool(flag)) => call.add_special_tokens = *flag,
                    // More output, which no module reads.
                    (
                        "return_length"
                        | "return_offsets_mapping"
                        | "return_special_tokens_mask"
                        | "verbose",
                        Json::Bool(_),
                    ) => {}
                    ("return_overflowing_tokens" | "split_special_tokens", Json::Bool(false)) => {}
                    ("return_tensors", Json::Str(kind)) if kind == "pt" => {}
                    _ => {
                        let key = format!("processing_kwargs: {name}: {key}");
                        return Err(self.unsupported(
                            &key,
                            value,
                            "max_length, truncation, add_special_tokens",
                        ));
                    }
                }
            }
        }
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Result<Options> {
        let files = std::collections::BTreeMap::new();
        let json = Json::parse(json.as_bytes()).expect(json);
        Options::read(&Files::new(&files, "0_T"), CONFIG_FILES[0], &json)
    }

    #[test]
    fn options_that_change_nothing_are_taken() {
        for json in [
            r#"{"max_seq_length": 7, "do_lower_case": 1, "backend": 5, "unpad_inputs": null}"#,
            r#"{"transformer_task": "feature-extraction", "query_expansion": null}"#,
            r#"{"model_args": {"token": "x", "attn_implementation": "sdpa"}, "config_kwargs": {"vocab_size": 7}}"#,
            r#"{"processing_kwargs": {"image": 5, "text": {"truncation": true, "max_length": null}}}"#,
        ] {
            options(json).expect(json);
        }
    }

    #[test]
    fn others_are_refused_by_their_name() {
        for (json, name) in [
            (r#"{"max_length": 7}"#, "max_length"),
            (r#"{"transformer_task": "fill-mask"}"#, "fill-mask"),
            (r#"{"model_kwargs": {"dtype": "float16"}}"#, "dtype"),
            (r#"{"model_kwargs": null}"#, "model_kwargs"),
            (r#"{"config_args": {"model_type": "roberta"}}"#, "model_type"),
            (r#"{"query_expansion": {"length": 8}}"#, "query_expansion"),
            (r#"{"modality_config": {}}"#, "modality_config"),
            (r#"{"processing_kwargs": {"text": {"stride": 2}}}"#, "add_special_tokens"),
            (
                r#"{"modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}}"#,
                "module_output_name",
            ),
            (r#"[5]"#, "0_T/sentence_bert_config.json"),
        ] {
            let error = options(json).expect_err(json);
            assert_eq!(error.code(), "unsupported_model");
            let message = error.to_string();
            assert!(message.contains(name) && message.contains("0_T/"), "{message}");
        }
    }

    #[test]
    fn a_name_counts_only_beside_what_it_is_of() {
        let plain = options(r#"{"module_output_name": "sentence_embedding"}"#).expect("valid");
        assert_eq!(plain.output_name, "token_embeddings");
        let json = r#"{"modality_config": {"text": {"method": "forward", "method_output_name": ["pooler_output"]}, "x": 1},
            "module_output_name": "sentence_embedding"}"#;
        let pooled = options(json).expect("valid");
        assert_eq!(
            (pooled.output, &*pooled.output_name),
            (EncoderOutput::PoolerOutput, "sentence_embedding")
        );
    }

    #[test]
    fn lengths_by_task() {
        let limits = |json: &str| {
            let limits = options(json).expect(json).limits(&Limit::Tokens(9));
            [None, Some(Task::Query), Some(Task::Document)].map(|task| limits.of(task).clone())
        };
        let tokens = Limit::Tokens;
        assert_eq!(limits("{}"), [tokens(9), tokens(9), tokens(9)]);
        assert_eq!(
            limits(r#"{"query_length": 4, "document_length": null}"#),
            [tokens(9), tokens(4), tokens(9)]
        );
        let json = r#"{"query_length": 4, "processing_kwargs": {"text": {"max_length": 6}, "common": {"max_length": 5}}}"#;
        assert_eq!(limits(json), [tokens(5), tokens(5), tokens(5)]);
        let json = r#"{"processing_kwargs": {"text": {"truncation": false}}}"#;
        assert_eq!(limits(json), [Limit::None, Limit::None, Limit::None]);
    }
}
