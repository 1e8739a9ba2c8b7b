//! WordPiece behind Hugging Face `tokenizers`, in a quarter of the memory.
//!
//! `tokenizers` keeps every token of a vocabulary as two strings in two maps, and reads them with copies in between. A worker
//! with BERT's 30,522 tokens then holds 8.3 MB for its tokenizer; with this model 2.2.

use std::collections::HashMap;
use std::fmt;

use hashbrown::{HashTable, hash_table};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use tokenizers::tokenizer::{Result, Token};

use crate::limits::MAX_VOCABULARY;

/// Greedy longest-match-first WordPiece (Devlin et al., <https://arxiv.org/abs/1810.04805>), as
/// [`tokenizers::models::wordpiece::WordPiece`].
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WordPiece {
    pub vocab: Vocabulary,
    pub unk_token: String,
    pub continuing_subword_prefix: String,
    pub max_input_chars_per_word: usize,
}

/// Tokens by text and by id.
#[derive(Clone, Default)]
pub(crate) struct Vocabulary {
    /// All tokens, one after the other.
    text: String,
    /// In the order of their text.
    tokens: Vec<Entry>,
    /// Indices into `tokens`.
    by_text: HashTable<u32>,
    /// Indices into `tokens`, sorted by id.
    by_id: Vec<u32>,
    /// Bytes of the longest token.
    longest: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    id: u32,
}

impl WordPiece {
    pub fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
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
        let prefix = &self.continuing_subword_prefix;
        let mut tokens = Vec::new();
        // Of the piece under way, prefix included, up to each of its ends, longest last.
        let mut ends: Vec<(usize, u64)> = Vec::new();
        let mut start = 0;
        while start < word.len() {
            let (prefix, mut hash) = match start {
                0 => ("", Hash::default()),
                _ => (prefix.as_str(), Hash::default().of(prefix)),
            };
            ends.clear();
            // No token is longer.
            let longest = self.vocab.longest.saturating_sub(prefix.len());
            for (at, character) in word[start..].char_indices() {
                let end = at + character.len_utf8();
                if end > longest {
                    break;
                }
                hash = hash.of(character.encode_utf8(&mut [0; 4]));
                ends.push((start + end, hash.finish()));
            }
            let (end, id) = ends.iter().rev().find_map(|&(end, hash)| {
                let id = self.vocab.find(hash, prefix, &word[start..end])?;
                Some((end, id))
            })?;
            tokens.push(Token::new(id, format!("{prefix}{}", &word[start..end]), (start, end)));
            start = end;
        }
        Some(tokens)
    }
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), because it gives the hashes of all beginnings of a text on its
/// way.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn of(self, text: &str) -> Self {
        let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(text.bytes().fold(self.0, step))
    }

    /// With all bits mixed: a table takes the lowest and the highest.
    fn finish(self) -> u64 {
        (self.0 ^ self.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

fn hash_of(text: &str) -> u64 {
    Hash::default().of(text).finish()
}

impl Vocabulary {
    /// The tokens of a `vocab.txt`, a line each, in the order of their ids, as the `WordPiece::read_file` of Python's
    /// tokenizers reads it: without white space at their ends, and of a line that occurs twice the last counts.
    pub fn from_lines(text: &str) -> Option<Self> {
        Self::from_list(text.lines().map(str::trim_end))
    }

    /// Tokens in the order of their ids. `None`: as [`Vocabulary::insert`].
    pub fn from_list<'a>(tokens: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut vocabulary = Self::default();
        for (id, token) in tokens.enumerate() {
            vocabulary.insert(token, u32::try_from(id).ok()?)?;
        }
        vocabulary.finish();
        Some(vocabulary)
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn tokens(&self) -> HashMap<String, u32> {
        self.tokens.iter().map(|entry| (self.text(entry).to_owned(), entry.id)).collect()
    }

    fn text(&self, entry: &Entry) -> &str {
        &self.text[entry.start as usize..entry.end as usize]
    }

    /// The id of the token that is a prefix and a rest, whose hash is given.
    fn find(&self, hash: u64, prefix: &str, rest: &str) -> Option<u32> {
        let is_token = |&index: &u32| {
            self.text(&self.tokens[index as usize]).strip_prefix(prefix) == Some(rest)
        };
        self.by_text.find(hash, is_token).map(|&index| self.tokens[index as usize].id)
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.find(hash_of(token), "", token)
    }

    pub fn token(&self, id: u32) -> Option<&str> {
        let id_at = |&index: &u32| self.tokens[index as usize].id;
        let at = self.by_id.binary_search_by_key(&id, id_at).ok()?;
        Some(self.text(&self.tokens[self.by_id[at] as usize]))
    }

    /// Of a token that occurs twice, the last id counts, as in a map. `None`: too many tokens, or more text than a `u32`
    /// counts.
    fn insert(&mut self, token: &str, id: u32) -> Option<()> {
        if self.len() == MAX_VOCABULARY {
            return None;
        }
        let Self { text, tokens, by_text, longest, .. } = self;
        let of = |index: u32| {
            let Entry { start, end, .. } = tokens[index as usize];
            &text[start as usize..end as usize]
        };
        let entry = by_text.entry(hash_of(token), |&i| of(i) == token, |&i| hash_of(of(i)));
        match entry {
            hash_table::Entry::Occupied(index) => tokens[*index.get() as usize].id = id,
            hash_table::Entry::Vacant(vacant) => {
                vacant.insert(u32::try_from(tokens.len()).ok()?);
                let start = u32::try_from(text.len()).ok()?;
                text.push_str(token);
                tokens.push(Entry { start, end: u32::try_from(text.len()).ok()?, id });
                *longest = token.len().max(*longest);
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

/// From a map of tokens to ids, or from a list of tokens, in which each may have a score beside it.
impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Listed {
            Token(String),
            Scored(String, serde::de::IgnoredAny),
        }
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
                    vocabulary.insert(&token, id).ok_or_else(too_large)?;
                }
                vocabulary.finish();
                Ok(vocabulary)
            }

            fn visit_seq<S: SeqAccess<'de>>(
                self,
                mut list: S,
            ) -> std::result::Result<Vocabulary, S::Error> {
                let mut vocabulary = Vocabulary::default();
                let mut id = 0;
                while let Some(Listed::Token(token) | Listed::Scored(token, _)) =
                    list.next_element()?
                {
                    vocabulary.insert(&token, id).ok_or_else(too_large)?;
                    id += 1;
                }
                vocabulary.finish();
                Ok(vocabulary)
            }
        }
        fn too_large<E: serde::de::Error>() -> E {
            E::custom("the vocabulary is too large")
        }
        deserializer.deserialize_any(Tokens)
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::models::wordpiece::WordPiece as Theirs;
    use tokenizers::tokenizer::Model as _;

    use super::*;
    use crate::limits::MAX_WORD_CHARS;

    const JSON: &str = r###"{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 5, "vocab": {"[UNK]": 9, "a": 3, "ab": 0, "##b": 7, "##ba": 12, "é": 4,
        "##é漢": 5, "##": 6, "aé": 8, "#": 2, "\u6f22": 1, "##a": 11}}"###;

    fn both() -> (WordPiece, Theirs) {
        let ours = serde_json::from_str(JSON).expect("valid");
        (ours, serde_json::from_str(JSON).expect("valid"))
    }

    #[test]
    fn words_are_cut_as_by_the_library() {
        let (ours, theirs) = both();
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
        let (ours, theirs) = both();
        assert_eq!(ours.vocab.tokens(), theirs.get_vocab());
        assert_eq!(ours.vocab.len(), 12);
        for id in 0..20 {
            assert_eq!(ours.vocab.token(id), theirs.id_to_token(id).as_deref(), "{id}");
        }
        for token in ["a", "##ba", "漢", "b", ""] {
            assert_eq!(ours.vocab.id(token), theirs.token_to_id(token), "{token}");
        }
    }

    #[test]
    fn a_word_without_tokens_and_without_an_unknown_token_is_an_error() {
        let model: WordPiece =
            serde_json::from_str(&JSON.replace("\"[UNK]\": 9", "\"c\": 9")).expect("valid");
        assert!(model.tokenize("zebra").is_err());
    }

    #[test]
    fn of_a_token_that_comes_twice_the_last_id_counts() {
        let json = JSON.replace("\"##a\": 11", "\"a\": 4000000000");
        let vocab = serde_json::from_str::<WordPiece>(&json).expect("valid").vocab;
        assert_eq!(vocab.id("a"), Some(4_000_000_000));
        assert_eq!(vocab.token(4_000_000_000), Some("a"));
        assert_eq!(vocab.token(3), None);
    }

    #[test]
    fn lists_and_lines_are_numbered() {
        let ids = |vocab: Vocabulary| {
            let mut tokens: Vec<_> = vocab.tokens().into_iter().collect();
            tokens.sort_by_key(|&(_, id)| id);
            tokens.into_iter().map(|(token, id)| format!("{id} {token}")).collect::<Vec<_>>()
        };
        let list = serde_json::from_str(r#"["a", ["b", -1.5], "a"]"#).expect("a list");
        assert_eq!(ids(list), ["1 b", "2 a"]);
        assert!(serde_json::from_str::<Vocabulary>("[1]").is_err());
        assert!(serde_json::from_str::<Vocabulary>(r#"{"a": -7}"#).is_err());
        let lines = |text| ids(Vocabulary::from_lines(text).expect("short"));
        assert_eq!(lines("a\nb\n"), ["0 a", "1 b"]);
        assert_eq!(lines("a\r\nb\rc"), ["0 a", "1 b\rc"]);
        assert_eq!(lines("a \u{c}\nb\u{85}\u{2028}"), ["0 a", "1 b"]);
        assert_eq!(lines("a\n\nb\n\n"), ["0 a", "2 b", "3 "]);
        assert_eq!(lines(""), [""; 0]);
        assert_eq!(lines("\n"), ["0 "]);
    }

    #[test]
    fn a_long_word_takes_little_time() {
        // Every beginning is looked up, and none is there but the shortest.
        let tokens: Vec<String> =
            (2..256).map(|n| format!("\"##{}\"", "a".repeat(n) + "b")).collect();
        let json = format!(r###"["[UNK]", "a", "##a", {}]"###, tokens.join(","));
        let vocab = serde_json::from_str(&json).expect("a list");
        let model = WordPiece {
            vocab,
            unk_token: "[UNK]".into(),
            continuing_subword_prefix: "##".into(),
            max_input_chars_per_word: MAX_WORD_CHARS,
        };
        let word = "a".repeat(MAX_WORD_CHARS);
        let started = std::time::Instant::now();
        for _ in 0..400 {
            assert_eq!(model.tokenize(&word).expect("tokens").len(), MAX_WORD_CHARS);
        }
        // 100 kB; without optimisation about 1 s.
        assert!(started.elapsed().as_secs() < 10);
        assert_eq!(model.tokenize(&(word + "a")).expect("unknown").len(), 1);
    }
}
