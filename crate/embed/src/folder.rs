//! Which files a model folder has: asked for one round after the other, because some say which others there are.
//!
//! ```text
//! modules.json, config_sentence_transformers.json
//!   └► for each module its config.json and weights; for a StaticEmbedding tokenizer.json and weights; for the Transformer
//!      also the tokenizer's files
//!        └► where those are not there: vocab.txt, the index of sharded weights, older names
//! ```

use std::collections::{BTreeMap, BTreeSet};

use embervec_tokenizer::Files;
use embervec_weights::Shards;
use embervec_weights::limits::MAX_SMALL_FILE_BYTES;

use crate::recipe::Recipe;
use crate::recipe::modules::{Layout, Module, ModuleKind};
use crate::recipe::transformer::{CONFIG_FILES, says_nothing};
use crate::{Error, Result};

pub(crate) const MODULES_JSON: &str = "modules.json";
pub(crate) const CONFIG_SENTENCE_TRANSFORMERS: &str = "config_sentence_transformers.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
const PYTORCH_WEIGHTS: &str = "pytorch_model.bin";

/// What the transformer's folder may hold in place of weights that can be read, and what to do then.
const OTHER_WEIGHTS: [(&str, &str); 4] = [
    (PYTORCH_WEIGHTS, CONVERT_PYTORCH),
    ("pytorch_model.bin.index.json", CONVERT_PYTORCH),
    ("onnx/model.onnx", NO_ONNX),
    ("model.onnx", NO_ONNX),
];

const CONVERT_PYTORCH: &str = "it is a Python pickle, which can run code when it is loaded; \
    to get model.safetensors, run SentenceTransformer(folder).save_pretrained(other) in Python";
const NO_ONNX: &str = "embervec needs the weights as model.safetensors; use the folder of the model that the ONNX file was exported from";
const ADAPTER_CONFIG: &str = "adapter_config.json";

/// One file of a model folder.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderFile {
    /// Path within the folder, with `/`.
    pub path: String,
    /// What is to be done with it.
    pub kind: FileKind,
    /// Where the folder may have the same weights in 8 bits, which can be used in place of this file.
    pub packed: Option<String>,
}

/// What a loader does with a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FileKind {
    /// A small file, which is read whole.
    Small,
    /// A large file with weights, which is read in pieces.
    Weights,
    /// A file that only has to exist or not.
    Probe,
}

/// What is known about a model folder.
///
/// ```text
/// loop: wanted() ─► for each file put(bytes), found() or absent() ─► until nothing is wanted
/// ```
#[derive(Clone, Debug, Default)]
pub struct Folder {
    small: BTreeMap<String, Vec<u8>>,
    found: BTreeSet<String>,
    absent: BTreeSet<String>,
}

impl Folder {
    /// The files to look for next. The list is empty once everything about the model is known.
    ///
    /// # Errors
    ///
    /// When a required file is missing, or a file is invalid.
    pub fn wanted(&self) -> Result<Vec<FolderFile>> {
        let survey = Survey::new(self)?;
        match survey.problem {
            // What is wrong with a file that is there says more than that another one is not.
            Some(problem) if survey.wanted.is_empty() => Recipe::read(self).and(Err(problem)),
            _ => Ok(survey.wanted),
        }
    }

    /// The files with the model's weights, once [`Folder::wanted`] is empty.
    ///
    /// # Errors
    ///
    /// As [`Folder::wanted`].
    pub fn weights(&self) -> Result<Vec<FolderFile>> {
        Ok(Survey::new(self)?.weights)
    }

    /// Adds the bytes of a small file.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for a Git LFS pointer, and for a file that is too large.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let damaged = |problem: String| Error::Damaged { file: path.into(), problem };
        if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
            return Err(damaged(
                "is a Git LFS pointer, not the file itself; run `git lfs pull` to download it"
                    .into(),
            ));
        }
        if bytes.len() > MAX_SMALL_FILE_BYTES {
            return Err(damaged(format!(
                "has {} bytes; the maximum for a file of this kind is {MAX_SMALL_FILE_BYTES}",
                bytes.len()
            )));
        }
        self.small.insert(path.into(), bytes);
        Ok(())
    }

    /// Records that a weight file (or its `packed` form) or a probed file exists.
    pub fn found(&mut self, path: &str) {
        self.found.insert(path.into());
    }

    /// Records that a file does not exist.
    pub fn absent(&mut self, path: &str) {
        self.absent.insert(path.into());
    }

    /// The bytes of a small file, if it exists.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.small.get(path).map(Vec::as_slice)
    }

    /// The paths of the small files that exist.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.small.keys().map(String::as_str)
    }

    /// The paths of the files that a loader looked for and did not find.
    pub fn absent_paths(&self) -> impl Iterator<Item = &str> {
        self.absent.iter().map(String::as_str)
    }

    /// The small files as seen from one of the folder's own.
    pub(crate) fn files<'a>(&'a self, folder: &'a str) -> Files<'a> {
        Files::new(&self.small, folder)
    }
}

/// Whether a file is there.
enum Answer<'a> {
    Unknown,
    Absent,
    There(&'a [u8]),
}

struct Survey<'a> {
    folder: &'a Folder,
    wanted: Vec<FolderFile>,
    weights: Vec<FolderFile>,
    /// Weights that are not there.
    problem: Option<Error>,
}

impl<'a> Survey<'a> {
    fn new(folder: &'a Folder) -> Result<Self> {
        let mut survey = Self { folder, wanted: Vec::new(), weights: Vec::new(), problem: None };
        let first = [survey.small(MODULES_JSON), survey.small(CONFIG_SENTENCE_TRANSFORMERS)];
        if first.iter().all(|answer| !matches!(answer, Answer::Unknown)) {
            match Layout::read(folder)? {
                Layout::Plain => survey.transformer("", true)?,
                Layout::Modules(modules) => {
                    modules.iter().try_for_each(|module| survey.module(module))?;
                }
            }
        }
        Ok(survey)
    }

    fn ask(&mut self, path: &str, kind: FileKind) -> Answer<'a> {
        if let Some(bytes) = self.folder.get(path) {
            return Answer::There(bytes);
        }
        if self.folder.found.contains(path) {
            return Answer::There(&[]);
        }
        if self.folder.absent.contains(path) {
            return Answer::Absent;
        }
        if self.wanted.iter().all(|file| file.path != path) {
            self.wanted.push(FolderFile { path: path.into(), kind, packed: None });
        }
        Answer::Unknown
    }

    fn small(&mut self, path: &str) -> Answer<'a> {
        self.ask(path, FileKind::Small)
    }

    fn module(&mut self, Module { kind, path, .. }: &Module) -> Result<()> {
        match kind {
            ModuleKind::Transformer => return self.transformer(path, false),
            ModuleKind::StaticEmbedding => {
                self.small(&join(path, "tokenizer.json"));
                let weights = join(path, WEIGHTS);
                match self.weights(&weights) {
                    Answer::There(_) => self.take_weights(weights.clone(), packed(&weights)),
                    Answer::Absent => self.refuse_other_weights(path, &OTHER_WEIGHTS),
                    Answer::Unknown => {}
                }
                return Ok(());
            }
            _ => {}
        }
        self.small(&join(path, "config.json"));
        if !kind.has_weights() {
            return Ok(());
        }
        let weights = join(path, WEIGHTS);
        match self.ask(&weights, FileKind::Weights) {
            Answer::There(_) => self.take_weights(weights, None),
            Answer::Absent => self.refuse_other_weights(path, &OTHER_WEIGHTS[..1]),
            Answer::Unknown => {}
        }
        Ok(())
    }

    fn transformer(&mut self, path: &str, is_plain: bool) -> Result<()> {
        let config = join(path, "config.json");
        let adapter = join(path, ADAPTER_CONFIG);
        let has_config = self.small(&config);
        let adapter_answer = self.ask(&adapter, FileKind::Probe);
        if matches!(adapter_answer, Answer::There(_)) {
            return Err(Error::unsupported(
                &adapter,
                "a PEFT adapter, whose weights are added to another model's,",
                "a folder with the merged weights, which merge_and_unload() in Python makes",
            ));
        }
        if matches!((has_config, adapter_answer), (Answer::Absent, Answer::Absent)) {
            return Err(Error::missing(config));
        }
        if is_plain {
            self.small(&join(path, "chat_template.jinja"));
        } else {
            match self.small(&join(path, CONFIG_FILES[0])) {
                Answer::Unknown => {}
                Answer::There(json) if !says_nothing(json) => {}
                Answer::There(_) | Answer::Absent => {
                    for name in &CONFIG_FILES[1..] {
                        self.small(&join(path, name));
                    }
                }
            }
        }
        for name in ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"] {
            self.small(&join(path, name));
        }
        if let Answer::Absent = self.small(&join(path, "tokenizer.json")) {
            self.small(&join(path, "vocab.txt"));
        }
        self.transformer_weights(path)
    }

    fn transformer_weights(&mut self, path: &str) -> Result<()> {
        let weights = join(path, WEIGHTS);
        match self.weights(&weights) {
            Answer::There(_) => self.take_weights(weights.clone(), packed(&weights)),
            Answer::Unknown => {}
            Answer::Absent => {
                let index = join(path, WEIGHTS_INDEX);
                match self.small(&index) {
                    Answer::Unknown => {}
                    Answer::Absent => self.refuse_other_weights(path, &OTHER_WEIGHTS),
                    Answer::There(json) => {
                        for name in Shards::from_json(&index, json)?.files {
                            let shard = join(path, &name);
                            match self.weights(&shard) {
                                Answer::There(_) => {
                                    self.take_weights(shard.clone(), packed(&shard))
                                }
                                Answer::Unknown => {}
                                Answer::Absent => {
                                    let hint = format!(", but {index} names it");
                                    self.problem = Some(Error::MissingFile { file: shard, hint });
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks for weights that may also be there in 8 bits.
    fn weights(&mut self, path: &str) -> Answer<'a> {
        let answer = self.ask(path, FileKind::Weights);
        if let Some(file) = self.wanted.iter_mut().find(|file| file.path == path) {
            file.packed = packed(path);
        }
        answer
    }

    fn take_weights(&mut self, path: String, packed: Option<String>) {
        if self.weights.iter().all(|file| file.path != path) {
            self.weights.push(FolderFile { path, kind: FileKind::Weights, packed });
        }
    }

    /// There are no weights: says what is there in their place.
    fn refuse_other_weights(&mut self, path: &str, others: &[(&str, &str)]) {
        let mut hint = String::new();
        for (name, what_to_do) in others {
            if let Answer::There(_) = self.ask(&join(path, name), FileKind::Probe)
                && hint.is_empty()
            {
                hint = format!(", which has {name}: {what_to_do}");
            }
        }
        self.problem = Some(Error::MissingFile { file: join(path, WEIGHTS), hint });
    }
}

/// The name of the same weights in 8 bits.
pub(crate) fn packed(path: &str) -> Option<String> {
    path.strip_suffix(".safetensors").map(|stem| format!("{stem}.q8.safetensors"))
}

/// A file of a module's folder; the folder "" is the model's own.
pub(crate) fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.into() } else { format!("{folder}/{file}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        r#"{"model_type": "bert", "hidden_size": 4, "num_attention_heads": 2, "vocab_size": 5}"#;
    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n";
    const MODULES: &str = r#"[
        {"name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"}
    ]"#;

    /// The rounds of a folder that has these files, each as the paths that were wanted, and how it ended.
    fn rounds(files: &[(&str, &str)]) -> (Vec<String>, Result<Vec<FolderFile>>) {
        let mut folder = Folder::default();
        let mut rounds = Vec::new();
        loop {
            let wanted = match folder.wanted() {
                Ok(wanted) if wanted.is_empty() => return (rounds, folder.weights()),
                Ok(wanted) => wanted,
                Err(error) => return (rounds, Err(error)),
            };
            let paths: Vec<_> = wanted.iter().map(|file| file.path.as_str()).collect();
            rounds.push(paths.join(" "));
            for FolderFile { path, kind, .. } in wanted {
                match (files.iter().find(|(name, _)| *name == path), kind) {
                    (None, _) => folder.absent(&path),
                    (Some((_, text)), FileKind::Small) => {
                        if let Err(error) = folder.put(&path, text.as_bytes().to_vec()) {
                            return (rounds, Err(error));
                        }
                    }
                    (Some(_), _) => folder.found(&path),
                }
            }
        }
    }

    fn error(files: &[(&str, &str)]) -> Error {
        rounds(files).1.expect_err("a folder without weights")
    }

    #[test]
    fn a_plain_folder_takes_two_rounds_and_one_more_for_a_vocab_txt() {
        let (rounds, weights) =
            rounds(&[("config.json", CONFIG), ("vocab.txt", VOCAB), (WEIGHTS, "")]);
        assert_eq!(
            rounds,
            [
                "modules.json config_sentence_transformers.json",
                "config.json adapter_config.json chat_template.jinja tokenizer_config.json special_tokens_map.json \
                 added_tokens.json tokenizer.json model.safetensors",
                "vocab.txt",
            ]
        );
        let weights = weights.expect("weights");
        assert_eq!(weights.len(), 1);
        assert_eq!(weights[0].packed.as_deref(), Some("model.q8.safetensors"));
    }

    #[test]
    fn the_modules_folders_are_asked_for_as_modules_json_names_them() {
        let (rounds, weights) = rounds(&[
            (MODULES_JSON, MODULES),
            ("config.json", CONFIG),
            ("tokenizer.json", "{}"),
            (WEIGHTS, ""),
            ("1_Dense/config.json", "{}"),
            ("1_Dense/model.safetensors", ""),
        ]);
        assert!(rounds[1].contains("sentence_bert_config.json"), "{rounds:?}");
        assert!(rounds[1].contains("1_Dense/config.json 1_Dense/model.safetensors"), "{rounds:?}");
        assert!(rounds[2].starts_with("sentence_roberta_config.json"), "{rounds:?}");
        let paths: Vec<_> = weights.expect("weights").into_iter().map(|file| file.path).collect();
        assert_eq!(paths, [WEIGHTS, "1_Dense/model.safetensors"]);
    }

    #[test]
    fn an_index_names_the_shards() {
        let index = r#"{"metadata": {}, "weight_map": {"a": "x.safetensors", "b": "y.safetensors", "c": "x.safetensors"}}"#;
        let files = [
            ("config.json", CONFIG),
            ("vocab.txt", VOCAB),
            (WEIGHTS_INDEX, index),
            ("x.safetensors", ""),
            ("y.safetensors", ""),
        ];
        let paths: Vec<_> =
            rounds(&files).1.expect("weights").into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["x.safetensors", "y.safetensors"]);
        let error = error(&files[..4]);
        assert_eq!(error.code(), "model_not_found");
        assert!(error.to_string().contains("y.safetensors"), "{error}");
        assert!(error.to_string().contains(WEIGHTS_INDEX), "{error}");
    }

    #[test]
    fn what_is_there_in_place_of_weights_is_named_with_what_to_do() {
        for (file, words) in [
            ("pytorch_model.bin", "save_pretrained"),
            ("pytorch_model.bin.index.json", "save_pretrained"),
            ("onnx/model.onnx", "ONNX file was exported from"),
            ("model.onnx", "ONNX file was exported from"),
        ] {
            let error = error(&[("config.json", CONFIG), ("vocab.txt", VOCAB), (file, "")]);
            assert_eq!(error.code(), "model_not_found");
            let message = error.to_string();
            assert!(message.contains(file) && message.contains(words), "{message}");
        }
        let error = error(&[("config.json", CONFIG), ("adapter_config.json", "{}")]);
        assert_eq!(error.code(), "unsupported_model");
        assert!(error.to_string().contains("merge_and_unload"), "{error}");
    }

    #[test]
    fn a_git_lfs_pointer_is_named_as_what_it_is() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        let error = error(&[("config.json", CONFIG), ("tokenizer.json", pointer), (WEIGHTS, "")]);
        assert_eq!(error.code(), "integrity");
        let message = error.to_string();
        assert!(
            message.contains("tokenizer.json") && message.contains("git lfs pull"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_of_nothing_is_no_model() {
        let error = error(&[]);
        assert_eq!(error.code(), "model_not_found");
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}
