//! What cuts words into tokens behind Hugging Face `tokenizers`: its own models, but for WordPiece a smaller one.
//!
//! `tokenizers` keeps every token of a vocabulary as two strings in two maps, and reads them with copies in between. A worker
//! with BERT's 30,522 tokens then holds 8.3 MB for its tokenizer; with this model 2.2.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::models::ModelWrapper;
use tokenizers::tokenizer::{AddedToken, Model, Result, Token, Trainer};

/// What cuts a word into tokens.
#[derive(Clone, Debug)]
pub(crate) enum TokenModel {
    WordPiece(WordPiece),
    Other(Box<ModelWrapper>),
}

/// Greedy longest-match-first WordPiece (Devlin et al., <https://arxiv.org/abs/1810.04805>), as
/// [`tokenizers::models::wordpiece::WordPiece`].
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WordPiece {
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    vocab: Vocabulary,
}

/// Tokens by text and by id.
#[derive(Clone, Default)]
struct Vocabulary {
    /// All tokens, one after the other.
    text: String,
    /// In the order of their text.
    tokens: Vec<Entry>,
    /// Indices into `tokens`.
    by_text: HashTable<u32>,
    /// Indices into `tokens`, sorted by id.
    by_id: Vec<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    id: u32,
}

impl TokenModel {
    /// The largest id there is.
    pub fn max_id(&self) -> u32 {
        match self {
            Self::WordPiece(WordPiece { vocab, .. }) => {
                vocab.by_id.last().map_or(0, |&index| vocab.tokens[index as usize].id)
            }
            Self::Other(model) => model.get_vocab().into_values().max().unwrap_or(0),
        }
    }
}

impl<'de> Deserialize<'de> for TokenModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow, default)]
            name: Option<Cow<'a, str>>,
        }
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let kind: Kind = serde_json::from_str(json).map_err(D::Error::custom)?;
        match kind.name.as_deref() {
            Some("WordPiece") => serde_json::from_str(json).map(Self::WordPiece),
            // Files from before there was a type, too.
            _ => serde_json::from_str(json).map(|model| Self::Other(Box::new(model))),
        }
        .map_err(D::Error::custom)
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
            Self::WordPiece(WordPiece { vocab, .. }) => {
                vocab.tokens.iter().map(|entry| (vocab.text(entry).to_owned(), entry.id)).collect()
            }
            Self::Other(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::WordPiece(model) => model.vocab.tokens.len(),
            Self::Other(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, _: &Path, _: Option<&str>) -> Result<Vec<PathBuf>> {
        Err("a tokenizer is only read here".into())
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
        Err("a tokenizer is only read here".into())
    }

    fn feed<I, S, F>(&mut self, _: I, _: F) -> Result<()>
    where
        I: Iterator<Item = S> + Send,
        S: AsRef<str> + Send,
        F: Fn(&str) -> Result<Vec<String>> + Sync,
    {
        Err("a tokenizer is only read here".into())
    }
}

impl WordPiece {
    fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
        if let Some(tokens) = self.pieces(word) {
            return Ok(tokens);
        }
        let id = self.vocab.id(&self.unk_token).ok_or("the vocabulary has no unk_token")?;
        Ok(vec![Token::new(id, self.unk_token.clone(), (0, word.len()))])
    }

    /// `None` for a word that is too long or has a part that is in no token.
    fn pieces(&self, word: &str) -> Option<Vec<Token>> {
        if word.chars().count() > self.max_input_chars_per_word {
            return None;
        }
        let mut tokens = Vec::new();
        let mut start = 0;
        while start < word.len() {
            let prefix = if start == 0 { "" } else { &self.continuing_subword_prefix };
            let mut piece = format!("{prefix}{}", &word[start..]);
            let id = loop {
                if piece.len() == prefix.len() {
                    return None;
                }
                if let Some(id) = self.vocab.id(&piece) {
                    break id;
                }
                piece.pop();
            };
            let end = start + piece.len() - prefix.len();
            tokens.push(Token::new(id, piece, (start, end)));
            start = end;
        }
        Some(tokens)
    }
}

impl Vocabulary {
    fn text(&self, entry: &Entry) -> &str {
        &self.text[entry.start as usize..entry.end as usize]
    }

    fn index(&self, token: &str) -> Option<usize> {
        let hash = self.hasher.hash_one(token);
        let is_token = |&index: &u32| self.text(&self.tokens[index as usize]) == token;
        self.by_text.find(hash, is_token).map(|&index| index as usize)
    }

    fn id(&self, token: &str) -> Option<u32> {
        self.index(token).map(|index| self.tokens[index].id)
    }

    fn token(&self, id: u32) -> Option<&str> {
        let id_at = |&index: &u32| self.tokens[index as usize].id;
        let at = self.by_id.binary_search_by_key(&id, id_at).ok()?;
        Some(self.text(&self.tokens[self.by_id[at] as usize]))
    }

    /// Of a token that comes twice, the last id counts, as in a map. `None`: more text than a `u32` counts.
    fn insert(&mut self, token: &str, id: u32) -> Option<()> {
        let Self { text, tokens, by_text, hasher, .. } = self;
        let of = |index: u32| {
            let Entry { start, end, .. } = tokens[index as usize];
            &text[start as usize..end as usize]
        };
        let entry =
            by_text.entry(hasher.hash_one(token), |&i| of(i) == token, |&i| hasher.hash_one(of(i)));
        match entry {
            hash_table::Entry::Occupied(index) => tokens[*index.get() as usize].id = id,
            hash_table::Entry::Vacant(vacant) => {
                vacant.insert(u32::try_from(tokens.len()).ok()?);
                let start = u32::try_from(text.len()).ok()?;
                text.push_str(token);
                tokens.push(Entry { start, end: u32::try_from(text.len()).ok()?, id });
            }
        }
        Some(())
    }

    fn finish(&mut self) {
        self.text.shrink_to_fit();
        self.tokens.shrink_to_fit();
        self.by_id = (0..self.tokens.len() as u32).collect();
        self.by_id.sort_by_key(|&index| self.tokens[index as usize].id);
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Vocabulary({} tokens)", self.tokens.len())
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from token to id")
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> std::result::Result<Vocabulary, M::Error> {
                let mut vocabulary = Vocabulary::default();
                while let Some((token, id)) = map.next_entry::<String, u32>()? {
                    let too_large = || M::Error::custom("the vocabulary is too large");
                    vocabulary.insert(&token, id).ok_or_else(too_large)?;
                }
                vocabulary.finish();
                Ok(vocabulary)
            }
        }
        deserializer.deserialize_map(Tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r###"{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 5, "vocab": {"[UNK]": 9, "a": 3, "ab": 0, "##b": 7, "##ba": 12, "é": 4,
        "##é漢": 5, "##": 6, "aé": 8, "#": 2, "\u6f22": 1, "##a": 11}}"###;

    fn ours() -> TokenModel {
        let model = serde_json::from_str(JSON).expect("valid");
        assert!(matches!(model, TokenModel::WordPiece(_)));
        model
    }

    #[test]
    fn words_are_cut_as_by_the_library() {
        let (ours, theirs) = (ours(), serde_json::from_str::<ModelWrapper>(JSON).expect("valid"));
        let letters = ["a", "b", "é", "漢", "#"];
        let mut words = vec![String::new()];
        for length in 0..7 {
            for word in &words {
                let tokens = ours.tokenize(word).expect("has an unk_token");
                assert_eq!(tokens, theirs.tokenize(word).expect("so has theirs"), "{word}");
            }
            if length < 6 {
                let longer = |word: &String| letters.map(|letter| format!("{word}{letter}"));
                words = words.iter().flat_map(longer).collect();
            }
        }
        assert_eq!(words.len(), 5usize.pow(6));
    }

    #[test]
    fn the_vocabulary_is_the_librarys() {
        let (ours, theirs) = (ours(), serde_json::from_str::<ModelWrapper>(JSON).expect("valid"));
        assert_eq!(ours.get_vocab(), theirs.get_vocab());
        assert_eq!(ours.get_vocab_size(), 12);
        assert_eq!(ours.max_id(), 12);
        for id in 0..20 {
            assert_eq!(ours.id_to_token(id), theirs.id_to_token(id), "{id}");
        }
        for token in ["a", "##ba", "漢", "b", ""] {
            assert_eq!(ours.token_to_id(token), theirs.token_to_id(token), "{token}");
        }
    }

    #[test]
    fn a_word_without_tokens_and_without_an_unknown_token_is_an_error() {
        let model: TokenModel =
            serde_json::from_str(&JSON.replace("\"[UNK]\": 9", "\"c\": 9")).expect("valid");
        assert!(model.tokenize("zebra").is_err());
    }

    #[test]
    fn of_a_token_that_comes_twice_the_last_id_counts() {
        let json = JSON.replace("\"##a\": 11", "\"a\": 4000000000");
        let model: TokenModel = serde_json::from_str(&json).expect("valid");
        assert_eq!(model.token_to_id("a"), Some(4_000_000_000));
        assert_eq!(model.id_to_token(4_000_000_000).as_deref(), Some("a"));
        assert_eq!(model.id_to_token(3), None);
        assert_eq!(model.max_id(), 4_000_000_000);
    }

    #[test]
    fn other_models_are_the_librarys() {
        let json = r#"{"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 5}}"#;
        let model: TokenModel = serde_json::from_str(json).expect("valid");
        assert!(matches!(model, TokenModel::Other(_)));
        assert_eq!(model.max_id(), 5);
        assert_eq!(model.tokenize("a").expect("known")[0].id, 5);
        assert!(
            serde_json::from_str::<TokenModel>(&JSON.replace("##b\": 7", "##b\": -7")).is_err()
        );
        assert!(serde_json::from_str::<TokenModel>(r#"{"type": "Nothing"}"#).is_err());
    }
}
