//! Byte pair encoding behind Hugging Face `tokenizers`: the vocabulary once, as WordPiece has it, and the merges as ids.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

use hashbrown::HashMap;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::tokenizer::{Result, Token};

use crate::limits::MAX_VOCABULARY;
use crate::word_piece::Vocabulary;

/// Characters merged pair by pair, the earliest of the list first (Sennrich et al., <https://arxiv.org/abs/1508.07909>),
/// as [`tokenizers::models::bpe::BPE`].
#[derive(Clone)]
pub(crate) struct Bpe {
    pub vocab: Vocabulary,
    merges: HashMap<[u32; 2], Merge>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
}

/// What becomes of a pair, and when.
#[derive(Clone, Copy)]
struct Merge {
    rank: u32,
    id: u32,
}

#[derive(Deserialize)]
struct BpeJson<'a> {
    vocab: Vocabulary,
    #[serde(borrow)]
    merges: &'a RawValue,
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

/// A part of a word: `next` and `before` are places in the list of parts, and a part without bytes is gone.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    len: usize,
    before: usize,
    next: usize,
}

const NONE: usize = usize::MAX;

impl Bpe {
    /// Reads the section `model` of a tokenizer.json; else what is wrong with it.
    pub fn from_json(json: &str) -> std::result::Result<Self, String> {
        let read = |error: serde_json::Error| error.to_string();
        let json: BpeJson = serde_json::from_str(json).map_err(read)?;
        if json.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err("has a dropout, which leaves out merges at random; set it to null".into());
        }
        let prefix = json.continuing_subword_prefix.as_deref().unwrap_or("");
        let list = MergeList { vocab: &json.vocab, prefix };
        let mut merges = serde_json::Deserializer::from_str(json.merges.get());
        Ok(Self {
            merges: list.deserialize(&mut merges).map_err(read)?,
            vocab: json.vocab,
            unk_token: json.unk_token,
            continuing_subword_prefix: json.continuing_subword_prefix,
            end_of_word_suffix: json.end_of_word_suffix,
            fuse_unk: json.fuse_unk.unwrap_or(false),
            byte_fallback: json.byte_fallback.unwrap_or(false),
            ignore_merges: json.ignore_merges.unwrap_or(false),
        })
    }

    /// Of a section `model` of which only the vocabulary and the merges count; else what is wrong with it.
    pub fn of_parts(json: &str) -> std::result::Result<Self, String> {
        #[derive(Deserialize)]
        struct Parts<'a> {
            vocab: Vocabulary,
            #[serde(borrow, default)]
            merges: Option<&'a RawValue>,
        }
        let read = |error: serde_json::Error| error.to_string();
        let Parts { vocab, merges } = serde_json::from_str(json).map_err(read)?;
        let merges = merges.map_or("[]", RawValue::get);
        let list = MergeList { vocab: &vocab, prefix: "" };
        let merges = list.deserialize(&mut serde_json::Deserializer::from_str(merges));
        Ok(Self {
            merges: merges.map_err(read)?,
            vocab,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
        })
    }

    pub fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
        if word.is_empty() {
            return Ok(Vec::new());
        }
        if self.ignore_merges
            && let Some(id) = self.vocab.id(word)
        {
            return Ok(vec![Token::new(id, word.to_owned(), (0, word.len()))]);
        }
        let mut symbols = self.symbols(word)?;
        self.merge(&mut symbols);
        let mut start = 0;
        let tokens =
            symbols.iter().filter(|symbol| symbol.len > 0).map(|&Symbol { id, len, .. }| {
                let token = self.vocab.token(id).unwrap_or_default().to_owned();
                start += len;
                Token::new(id, token, (start - len, start))
            });
        Ok(tokens.collect())
    }

    /// The characters of a word.
    fn symbols(&self, word: &str) -> Result<Vec<Symbol>> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut push = |id, len| {
            let at = symbols.len();
            if let Some(last) = symbols.last_mut() {
                last.next = at;
            }
            symbols.push(Symbol { id, len, before: at.wrapping_sub(1), next: NONE });
        };
        // Of unknown characters: they follow when the next known one comes, even if bytes have come before it.
        let mut unknown: Option<(u32, usize)> = None;
        for (start, character) in word.char_indices() {
            let len = character.len_utf8();
            let mut text = Cow::Borrowed(&word[start..start + len]);
            if start > 0
                && let Some(prefix) = &self.continuing_subword_prefix
            {
                text = format!("{prefix}{text}").into();
            }
            if start + len == word.len()
                && let Some(suffix) = &self.end_of_word_suffix
            {
                text = format!("{text}{suffix}").into();
            }
            if let Some(id) = self.vocab.id(&text) {
                if let Some((id, len)) = unknown.take() {
                    push(id, len);
                }
                push(id, len);
                continue;
            }
            if self.byte_fallback {
                let ids = text.bytes().map(|byte| self.vocab.id(&format!("<0x{byte:02X}>")));
                if let Some(ids) = ids.collect::<Option<Vec<u32>>>() {
                    ids.into_iter().for_each(|id| push(id, 1));
                    continue;
                }
            }
            let Some(unk_token) = &self.unk_token else { continue };
            unknown = match unknown {
                Some((id, before)) if self.fuse_unk => Some((id, before + len)),
                before => {
                    if let Some((id, len)) = before {
                        push(id, len);
                    }
                    let id = self.vocab.id(unk_token).ok_or("the vocabulary has no unk_token")?;
                    Some((id, len))
                }
            };
        }
        if let Some((id, len)) = unknown {
            push(id, len);
        }
        Ok(symbols)
    }

    /// Merges what can be merged; what has no bytes any more is gone.
    fn merge(&self, symbols: &mut [Symbol]) {
        let found = |symbols: &[Symbol], at: usize| {
            let next = symbols.get(symbols[at].next)?;
            let &Merge { rank, id } = self.merges.get(&[symbols[at].id, next.id])?;
            Some(Reverse((rank, at, id)))
        };
        let mut queue: BinaryHeap<_> =
            (0..symbols.len()).filter_map(|at| found(symbols, at)).collect();
        while let Some(Reverse((_, at, id))) = queue.pop() {
            let next = symbols[at].next;
            // Either of the two may have been merged with another one since.
            if symbols[at].len == 0
                || found(symbols, at).is_none_or(|Reverse((_, _, now))| now != id)
            {
                continue;
            }
            let right = symbols[next];
            symbols[next].len = 0;
            symbols[at] =
                Symbol { id, len: symbols[at].len + right.len, next: right.next, ..symbols[at] };
            if let Some(behind) = symbols.get_mut(right.next) {
                behind.before = at;
            }
            if symbols[at].before != NONE {
                queue.extend(found(symbols, symbols[at].before));
            }
            queue.extend(found(symbols, at));
        }
    }
}

/// Reads merges, which are pairs of tokens, or lines of two tokens with a space between.
struct MergeList<'a> {
    vocab: &'a Vocabulary,
    prefix: &'a str,
}

#[derive(Deserialize)]
struct Pair<'a>(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Line<'a>(#[serde(borrow)] Cow<'a, str>);

impl MergeList<'_> {
    /// Else what is wrong with the merge.
    fn pair(&self, first: &str, second: &str) -> std::result::Result<([u32; 2], u32), String> {
        let merged = || {
            // As the library: without a look at what it leaves out.
            let rest = second.get(self.prefix.len()..)?;
            let ids = [self.vocab.id(first)?, self.vocab.id(second)?];
            Some((ids, self.vocab.id(&format!("{first}{rest}"))?))
        };
        merged().ok_or_else(|| {
            format!("the merge \"{first} {second}\" needs a token that is not in the vocabulary")
        })
    }
}

impl<'de> DeserializeSeed<'de> for MergeList<'_> {
    type Value = HashMap<[u32; 2], Merge>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MergeList<'_> {
    type Value = HashMap<[u32; 2], Merge>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<S: SeqAccess<'de>>(
        self,
        mut list: S,
    ) -> std::result::Result<Self::Value, S::Error> {
        let (mut merges, mut rank, mut are_pairs) = (HashMap::new(), 0, None);
        while let Some(merge) = list.next_element::<&RawValue>()? {
            let json = merge.get();
            let is_pair = json.starts_with('[');
            if *are_pairs.get_or_insert(is_pair) != is_pair {
                return Err(S::Error::custom("its merges are partly pairs and partly strings"));
            }
            let Pair(first, second) = match is_pair {
                true => serde_json::from_str(json).map_err(S::Error::custom)?,
                false => {
                    let Line(line) = serde_json::from_str(json).map_err(S::Error::custom)?;
                    // The first line of a merges.txt.
                    if line.starts_with("#version") {
                        continue;
                    }
                    match line.split(' ').collect::<Vec<_>>()[..] {
                        [first, second] => Pair(first.to_owned().into(), second.to_owned().into()),
                        _ => {
                            let problem =
                                format!("the merge \"{line}\" does not consist of two tokens");
                            return Err(S::Error::custom(problem));
                        }
                    }
                }
            };
            if rank as usize == MAX_VOCABULARY {
                let problem = format!("has more than {MAX_VOCABULARY} merges");
                return Err(S::Error::custom(problem));
            }
            let (ids, id) = self.pair(&first, &second).map_err(S::Error::custom)?;
            // Of a pair that comes twice, the last one counts, as in a map.
            merges.insert(ids, Merge { rank, id });
            rank += 1;
        }
        merges.shrink_to_fit();
        Ok(merges)
    }
}

impl fmt::Debug for Bpe {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Bpe({} tokens, {} merges)", self.vocab.len(), self.merges.len())
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::models::bpe::BPE as Theirs;
    use tokenizers::tokenizer::Model as _;

    use super::*;

    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % end
        }
    }

    /// A section `model` with tokens that were merged of letters, and some that nothing makes.
    fn section(random: &mut Random, letters: &[&str], prefix: &str, suffix: &str) -> String {
        let mut tokens: Vec<String> = vec!["<unk>".into()];
        tokens.extend(letters.iter().map(|&letter| letter.to_owned()));
        if !prefix.is_empty() {
            tokens.extend(letters.iter().map(|letter| format!("{prefix}{letter}")));
        }
        if !suffix.is_empty() {
            tokens.extend(letters.iter().map(|letter| format!("{letter}{suffix}")));
        }
        // The bytes of "é" and "ä", but not of others.
        tokens.extend([0xC3, 0xA9, 0xA4].map(|byte: u8| format!("<0x{byte:02X}>")));
        let mut merges = Vec::new();
        for _ in 0..random.below(60) {
            let first = tokens[1 + random.below(tokens.len() - 1)].clone();
            let second = tokens[1 + random.below(tokens.len() - 1)].clone();
            let Some(rest) = second.get(prefix.len()..) else { continue };
            let merged = format!("{first}{rest}");
            if !tokens.contains(&merged) {
                tokens.push(merged);
            }
            merges.push(format!("[{first:?}, {second:?}]"));
        }
        let ids = tokens.iter().enumerate().map(|(id, token)| format!("{token:?}: {}", id * 3));
        let vocab: Vec<_> = ids.collect();
        let flag = |random: &mut Random| random.below(2) == 0;
        let unk_token = if flag(random) { r#""<unk>""# } else { "null" };
        format!(
            r#"{{"type": "BPE", "unk_token": {unk_token}, "fuse_unk": {}, "byte_fallback": {}, "ignore_merges": {},
                "continuing_subword_prefix": {}, "end_of_word_suffix": {}, "vocab": {{{}}}, "merges": [{}]}}"#,
            flag(random),
            flag(random),
            flag(random),
            if prefix.is_empty() { "null".into() } else { format!("{prefix:?}") },
            if suffix.is_empty() { "null".into() } else { format!("{suffix:?}") },
            vocab.join(", "),
            merges.join(", ")
        )
    }

    #[test]
    fn words_are_cut_as_by_the_library() {
        let mut random = Random(5);
        let mut merged = 0;
        for round in 0..200 {
            let letters = &["a", "b", "c", "▁", "漢"][..2 + random.below(4)];
            let (prefix, suffix) = [("", ""), ("", ""), ("##", ""), ("", "</w>")][round % 4];
            let json = section(&mut random, letters, prefix, suffix);
            let ours = Bpe::from_json(&json).expect("valid");
            let theirs: Theirs = serde_json::from_str(&json).expect("valid");
            for _ in 0..60 {
                let all = ["a", "b", "c", "▁", "漢", "é", "ä", "x", "😀", "a", "b"];
                let word: String =
                    (0..random.below(20)).map(|_| all[random.below(all.len())]).collect();
                let tokens = ours.tokenize(&word).expect("tokens");
                assert_eq!(tokens, theirs.tokenize(&word).expect("tokens"), "{word} {json}");
                merged += word.chars().count().saturating_sub(tokens.len());
            }
            assert_eq!(ours.vocab.tokens(), theirs.get_vocab());
        }
        assert!(merged > 7_000, "{merged}");
    }

    #[test]
    fn lines_are_merges_too() {
        let json = |merges: &str| {
            format!(
                r#"{{"vocab": {{"a": 0, "b": 1, "ab": 2, "aba": 3, "é": 4}}, "merges": [{merges}]}}"#
            )
        };
        let tokens = |json: &str| {
            let tokens = Bpe::from_json(json).expect(json).tokenize("ababa").expect(json);
            tokens.into_iter().map(|token| token.id).collect::<Vec<_>>()
        };
        assert_eq!(tokens(&json(r##""#version: 0.2", "a b", "ab a""##)), [2, 3]);
        assert_eq!(tokens(&json(r#"["a", "b"], ["ab", "a"]"#)), [2, 3]);
        // Of a pair that comes twice, the last one counts.
        let twice = json(r#"["a", "b"], ["ab", "a"], ["a", "b"]"#);
        let theirs: Theirs = serde_json::from_str(&twice).expect("valid");
        let theirs = theirs.tokenize("ababa").expect("tokens");
        assert_eq!(tokens(&twice), theirs.iter().map(|token| token.id).collect::<Vec<_>>());
        for merges in [r#""a b", ["a", "b"]"#, r#"["a"]"#, r#"["a", 5]"#, "null", r#""ab""#] {
            Bpe::from_json(&json(merges)).expect_err(merges);
        }
    }

    #[test]
    fn an_unknown_token_that_is_missing_is_an_error_where_it_is_needed() {
        let json = r#"{"vocab": {"a": 0}, "merges": [], "unk_token": "<unk>"}"#;
        let model = Bpe::from_json(json).expect("valid");
        model.tokenize("aa").expect("known");
        model.tokenize("ab").expect_err("unknown");
    }

    #[test]
    fn a_long_word_takes_little_time() {
        let json =
            r#"{"vocab": {"a": 0, "aa": 1, "aaaa": 2}, "merges": [["a", "a"], ["aa", "aa"]]}"#;
        let model = Bpe::from_json(json).expect("valid");
        let started = std::time::Instant::now();
        let tokens = model.tokenize(&"a".repeat(200_000)).expect("tokens");
        assert_eq!(tokens.len(), 50_000);
        assert!(started.elapsed().as_secs() < 10);
    }
}
