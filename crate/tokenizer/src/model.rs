//! What cuts words into tokens: models of our own, and the library's WordLevel.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::tokenizer::{AddedToken, Model, Result, Token, Trainer};

use crate::bpe::Bpe;
use crate::limits::MAX_WORD_CHARS;
use crate::unigram::{Pieces, Unigram};
use crate::word_piece::{Vocabulary, WordPiece};

/// What cuts a word into tokens.
#[derive(Clone, Debug)]
pub(crate) enum TokenModel {
    WordPiece(WordPiece),
    Unigram(Unigram),
    Bpe(Bpe),
    WordLevel(WordLevel),
}

/// The section `model` of a tokenizer.json, as far as every kind has it.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelJson<'a> {
    #[serde(rename = "type", borrow, default, deserialize_with = "present")]
    pub kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub vocab: Option<&'a RawValue>,
}

/// A value that may be left out, but not `null`.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Cow<'de, str>>, D::Error> {
    Cow::deserialize(deserializer).map(Some)
}

/// WordPiece's settings beside its vocabulary.
#[derive(Deserialize)]
struct WordPieceSettings {
    #[serde(rename = "unk_token")]
    _unk_token: String,
    #[serde(rename = "continuing_subword_prefix")]
    _continuing_subword_prefix: String,
    #[serde(rename = "max_input_chars_per_word")]
    _max_input_chars_per_word: u64,
}

/// What tells the models apart.
#[derive(Deserialize)]
struct UntypedModel {
    #[serde(default)]
    unk_token: Option<IgnoredAny>,
    #[serde(default)]
    merges: Option<IgnoredAny>,
}

impl ModelJson<'_> {
    /// Whether the library would read the section, of which a class of transformers takes the vocabulary only; else what is
    /// wrong with it.
    pub fn check(&self, json: &str) -> std::result::Result<(), String> {
        match self.kind.as_deref() {
            Some("WordPiece") => read::<WordPieceSettings>(json).map(drop),
            Some("BPE" | "WordLevel" | "Unigram") => Ok(()),
            // A file from before there were types: of any model that it can be.
            None => {
                let UntypedModel { unk_token, merges } = read(json)?;
                let is_list = self.vocab.is_some_and(|vocab| vocab.get().starts_with('['));
                if unk_token.is_none() && merges.is_none() && !is_list {
                    return Err("its type is unknown".into());
                }
                Ok(())
            }
            Some(kind) => Err(format!("the type \"{kind}\" is unknown")),
        }
    }
}

#[derive(Deserialize)]
struct UnigramJson {
    vocab: Pieces,
    #[serde(default)]
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
}

#[derive(Deserialize)]
struct WordLevelJson {
    vocab: HashMap<String, u32>,
    unk_token: String,
}

impl TokenModel {
    /// Reads the section `model` of a tokenizer.json; else what is wrong with it.
    pub fn from_json(json: &str) -> std::result::Result<Self, String> {
        match read::<ModelJson>(json)?.kind.as_deref() {
            Some(kind) => Self::of_kind(kind, json),
            // A file from before there were types: the first that it can be.
            None => ["BPE", "WordPiece", "WordLevel", "Unigram"]
                .into_iter()
                .find_map(|kind| Self::of_kind(kind, json).ok())
                .ok_or_else(|| "its type is unknown".into()),
        }
    }

    fn of_kind(kind: &str, json: &str) -> std::result::Result<Self, String> {
        match kind {
            "WordPiece" => {
                check_object(json)?;
                let model: WordPiece = read(json)?;
                if model.max_input_chars_per_word > MAX_WORD_CHARS {
                    let limit = model.max_input_chars_per_word;
                    return Err(format!(
                        "max_input_chars_per_word is {limit}; supported: up to {MAX_WORD_CHARS}"
                    ));
                }
                Ok(Self::WordPiece(model))
            }
            "Unigram" => {
                let UnigramJson { vocab, unk_id, byte_fallback } = read(json)?;
                Unigram::new(vocab, unk_id, byte_fallback).map(Self::Unigram)
            }
            "WordLevel" => {
                let WordLevelJson { vocab, unk_token } = read(json)?;
                let vocab = vocab.into_iter().collect();
                let model = WordLevel::builder().vocab(vocab).unk_token(unk_token).build();
                model.map(Self::WordLevel).map_err(|error| error.to_string())
            }
            "BPE" => {
                check_object(json)?;
                Bpe::from_json(json).map(Self::Bpe)
            }
            _ => Err(format!("the type \"{kind}\" is unknown")),
        }
    }

    /// The words of a vocabulary, cut as [`BertTokenizer`] cuts them.
    ///
    /// [`BertTokenizer`]: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/tokenization_bert.py#L102
    pub fn bert(vocab: Vocabulary, unk_token: String) -> Self {
        Self::WordPiece(WordPiece {
            vocab,
            unk_token,
            continuing_subword_prefix: "##".into(),
            max_input_chars_per_word: 100,
        })
    }
}

/// Whether the vocabulary says the tokens' ids; else what is wrong.
fn check_object(json: &str) -> std::result::Result<(), String> {
    match read::<ModelJson>(json)?.vocab {
        Some(vocab) if vocab.get().starts_with('{') => Ok(()),
        _ => Err("its vocab is not an object".into()),
    }
}

fn read<'de, T: Deserialize<'de>>(json: &'de str) -> std::result::Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

impl Model for TokenModel {
    type Trainer = NoTrainer;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        match self {
            Self::WordPiece(model) => model.tokenize(sequence),
            Self::Unigram(model) => model.tokenize(sequence),
            Self::Bpe(model) => model.tokenize(sequence),
            Self::WordLevel(model) => model.tokenize(sequence),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::WordPiece(model) => model.vocab.id(token),
            Self::Unigram(model) => model.id(token),
            Self::Bpe(model) => model.vocab.id(token),
            Self::WordLevel(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::WordPiece(model) => model.vocab.token(id).map(str::to_owned),
            Self::Unigram(model) => model.piece(id).map(str::to_owned),
            Self::Bpe(model) => model.vocab.token(id).map(str::to_owned),
            Self::WordLevel(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::WordPiece(model) => model.vocab.tokens(),
            Self::Unigram(model) => model.tokens(),
            Self::Bpe(model) => model.vocab.tokens(),
            Self::WordLevel(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::WordPiece(model) => model.vocab.len(),
            Self::Unigram(model) => model.len(),
            Self::Bpe(model) => model.vocab.len(),
            Self::WordLevel(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, _: &Path, _: Option<&str>) -> Result<Vec<PathBuf>> {
        Err("tokenizers are read-only here".into())
    }

    fn get_trainer(&self) -> NoTrainer {
        NoTrainer
    }
}

/// The trait [`Model`] demands one.
pub(crate) struct NoTrainer;

impl Trainer for NoTrainer {
    type Model = TokenModel;

    fn should_show_progress(&self) -> bool {
        false
    }

    fn train(&self, _: &mut TokenModel) -> Result<Vec<AddedToken>> {
        Err("tokenizers are read-only here".into())
    }

    fn feed<I, S, F>(&mut self, _: I, _: F) -> Result<()>
    where
        I: Iterator<Item = S> + Send,
        S: AsRef<str> + Send,
        F: Fn(&str) -> Result<Vec<String>> + Sync,
    {
        Err("tokenizers are read-only here".into())
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::models::ModelWrapper;

    use super::*;

    #[test]
    fn the_librarys_models_are_as_the_library_reads_them() {
        for json in [
            r#"{"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 5, "b": 3}}"#,
            r#"{"unk_token": "u", "vocab": {"u": 0, "a": 5, "b": 3}}"#,
            r#"{"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.5], ["ab", -1.0], ["b", -3]]}"#,
            r#"{"type": "BPE", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2, "ab": 3}, "merges": ["a b"]}"#,
            r###"{"type": "BPE", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2, "ab": 3, "##b": 4},
                "continuing_subword_prefix": "##", "fuse_unk": true, "merges": [["a", "##b"]]}"###,
        ] {
            let ours = TokenModel::from_json(json).expect(json);
            let theirs: ModelWrapper = serde_json::from_str(json).expect(json);
            for word in ["", "a", "ab", "abab", "ba", "é", "aéb"] {
                let tokens = |model: &dyn Fn(&str) -> Result<Vec<Token>>| {
                    model(word).map_err(|e| e.to_string())
                };
                let (a, b) = (tokens(&|w| ours.tokenize(w)), tokens(&|w| theirs.tokenize(w)));
                assert_eq!(a, b, "{json} {word}");
            }
            assert_eq!(ours.get_vocab(), theirs.get_vocab());
        }
    }

    #[test]
    fn what_the_library_does_not_survive_is_refused() {
        for json in [
            r#"{}"#,
            r#"{"type": "Nothing"}"#,
            r#"{"type": "WordLevel", "unk_token": "u"}"#,
            r###"{"type": "WordPiece", "unk_token": "u", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 1152921504606846976, "vocab": {"u": 0}}"###,
            r#"{"type": "Unigram", "unk_id": 1, "vocab": [["a", 0.0]]}"#,
            r#"{"type": "Unigram", "unk_id": 0, "vocab": []}"#,
            r#"{"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["", 0.0]]}"#,
            r#"{"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["a", -1.0]]}"#,
            r#"{"type": "Unigram", "unk_id": 0, "vocab": [["a", 1e999]]}"#,
            r#"{"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}"#,
            r#"{"type": "BPE", "vocab": {"a": 0, "ab": 1}, "merges": ["a b"]}"#,
            r#"{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a  b"]}"#,
            r#"{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "dropout": 0.1}"#,
            // A prefix longer than a token, and one that cuts a character.
            r#"{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "continuing_subword_prefix": "xyz"}"#,
            r#"{"type": "BPE", "vocab": {"a": 0, "é": 1, "aé": 2}, "merges": [["a", "é"]], "continuing_subword_prefix": "x"}"#,
        ] {
            assert!(TokenModel::from_json(json).is_err(), "{json}");
        }
    }
}
