//! What cuts words into tokens: WordPiece of our own, and the library's other models, behind checks of what they take for granted.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokenizers::models::bpe::BpeBuilder;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::{ModelWrapper, bpe};
use tokenizers::tokenizer::{AddedToken, Model, Result, Token, Trainer};

use crate::limits::{MAX_PIECE_BYTES, MAX_PREFIX_BYTES, MAX_WORD_CHARS};
use crate::word_piece::{Vocabulary, WordPiece};

/// What cuts a word into tokens.
#[derive(Clone, Debug)]
pub(crate) enum TokenModel {
    WordPiece(WordPiece),
    Other(Box<ModelWrapper>),
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
    vocab: Vec<(String, f64)>,
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

#[derive(Deserialize)]
struct BpeJson {
    vocab: HashMap<String, u32>,
    merges: Merges,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merges {
    Pairs(Vec<(String, String)>),
    Lines(Vec<String>),
}

/// The most bytes that pieces have together, each of which is the beginning of the next one.
fn most_prefix_bytes(mut pieces: Vec<&str>) -> usize {
    pieces.sort_unstable();
    let (mut chain, mut bytes, mut most) = (Vec::<&str>::new(), 0, 0);
    for piece in pieces {
        while let Some(last) = chain.pop_if(|last| !piece.starts_with(*last)) {
            bytes -= last.len();
        }
        chain.push(piece);
        bytes += piece.len();
        most = most.max(bytes);
    }
    most
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
                if !read::<ModelJson>(json)?.vocab.is_some_and(|vocab| vocab.get().starts_with('{'))
                {
                    return Err("its vocab is not an object".into());
                }
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
                Self::unigram(vocab, unk_id, byte_fallback)
            }
            "WordLevel" => {
                let WordLevelJson { vocab, unk_token } = read(json)?;
                let vocab = vocab.into_iter().collect();
                let model = WordLevel::builder().vocab(vocab).unk_token(unk_token).build();
                Ok(Self::other(model.map_err(|error| error.to_string())?))
            }
            "BPE" => read::<BpeJson>(json)?.build().map(Self::other),
            _ => Err(format!("the type \"{kind}\" is unknown")),
        }
    }

    /// Pieces with their scores.
    pub fn unigram(
        vocab: Vec<(String, f64)>,
        unk_id: Option<usize>,
        byte_fallback: bool,
    ) -> std::result::Result<Self, String> {
        let mut seen = HashSet::with_capacity(vocab.len());
        for (id, (piece, score)) in vocab.iter().enumerate() {
            let problem = if piece.is_empty() {
                "is empty"
            } else if piece.len() > MAX_PIECE_BYTES {
                return Err(format!(
                    "piece {id} has {} bytes; the maximum is {MAX_PIECE_BYTES}",
                    piece.len()
                ));
            } else if !score.is_finite() {
                "has a score that is not finite"
            } else if !seen.insert(piece.as_str()) {
                "occurs twice"
            } else {
                continue;
            };
            return Err(format!("piece {id}, \"{piece}\", {problem}"));
        }
        let most = most_prefix_bytes(seen.into_iter().collect());
        if most > MAX_PREFIX_BYTES {
            return Err(format!(
                "has pieces that are prefixes of each other, with {most} bytes in all; the maximum is {MAX_PREFIX_BYTES}"
            ));
        }
        let model = Unigram::from(vocab, unk_id, byte_fallback);
        Ok(Self::other(model.map_err(|error| error.to_string())?))
    }

    fn other(model: impl Into<ModelWrapper>) -> Self {
        Self::Other(Box::new(model.into()))
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

fn read<'de, T: Deserialize<'de>>(json: &'de str) -> std::result::Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

impl BpeJson {
    fn build(self) -> std::result::Result<bpe::BPE, String> {
        let Self { vocab, merges, .. } = self;
        let pairs: Vec<(String, String)> = match merges {
            Merges::Pairs(pairs) => pairs,
            Merges::Lines(lines) => lines
                .iter()
                // The first line of a merges.txt.
                .filter(|line| !line.starts_with("#version"))
                .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                    [first, second] => Ok((first.to_owned(), second.to_owned())),
                    _ => Err(format!("the merge \"{line}\" does not consist of two tokens")),
                })
                .collect::<std::result::Result<_, _>>()?,
        };
        // The library copies the second token without the prefix behind the first one, unseen.
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or("");
        let mut merged = String::new();
        for (first, second) in &pairs {
            let rest = second.get(prefix.len()..);
            merged.clear();
            merged.push_str(first);
            merged.push_str(rest.unwrap_or(""));
            if rest.is_none() || ![first, second, &merged].iter().all(|t| vocab.contains_key(*t)) {
                return Err(format!(
                    "the merge \"{first} {second}\" needs a token that is not in the vocabulary"
                ));
            }
        }
        if self.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err("it drops merges at random (dropout)".into());
        }
        let mut builder = BpeBuilder::new()
            .vocab_and_merges(vocab.into_iter().collect::<bpe::Vocab>(), pairs)
            .fuse_unk(self.fuse_unk.unwrap_or(false))
            .byte_fallback(self.byte_fallback.unwrap_or(false))
            .ignore_merges(self.ignore_merges.unwrap_or(false));
        if let Some(unk_token) = self.unk_token {
            builder = builder.unk_token(unk_token);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build().map_err(|error| error.to_string())
    }
}

impl Model for TokenModel {
    type Trainer = NoTrainer;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        match self {
            Self::WordPiece(model) => model.tokenize(sequence),
            Self::Other(model) => model.tokenize(sequence),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::WordPiece(model) => model.vocab.id(token),
            Self::Other(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::WordPiece(model) => model.vocab.token(id).map(str::to_owned),
            Self::Other(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::WordPiece(model) => model.vocab.tokens(),
            Self::Other(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::WordPiece(model) => model.vocab.len(),
            Self::Other(model) => model.get_vocab_size(),
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

    #[test]
    fn pieces_that_cost_too_much_at_every_place_of_a_text_are_refused() {
        let unigram = |lengths: std::ops::RangeInclusive<usize>| {
            let vocab = lengths.map(|length| ("a".repeat(length), -1.0)).collect();
            TokenModel::unigram(vocab, Some(0), false)
        };
        // 63 · 64 / 2 = 2016.
        unigram(1..=63).expect("few");
        unigram(1..=64).expect_err("many");
        unigram(256..=256).expect("short");
        unigram(257..=257).expect_err("long");
        assert_eq!(most_prefix_bytes(vec!["b", "abc", "a", "ac", "ab", "bcd"]), 6);
    }
}
