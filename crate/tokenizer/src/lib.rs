//! Text to token ids, and back to places in the text, as Hugging Face `transformers` makes a tokenizer of a folder's files.
//!
//! ```text
//! tokenizer_config.json, special_tokens_map.json, added_tokens.json ─► Settings ─┐
//! tokenizer.json (or vocab.txt) ─► its sections, checked ────────────────────────┴─► Tokenizer
//! ```
//!
//! The class of the tokenizer decides which of the two counts: a `BertTokenizer` takes only the vocabulary from
//! tokenizer.json, and everything else from tokenizer_config.json, whose defaults lower-case.

mod added;
mod bpe;
mod build;
mod charsmap;
mod cut;
mod error;
mod files;
mod limits;
mod model;
mod parts;
mod settings;
mod template;
mod unigram;
mod word_piece;

use std::ops::Range;

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::tokenizer::TokenizerImpl;

pub use build::TokenizerOptions;
pub use error::{Error, Result};
pub use files::Files;
pub use settings::Limit;

use crate::cut::Borders;
use crate::model::TokenModel;
use crate::parts::PostProcessing;
use crate::settings::Side;

/// So many bytes per token of the limit are tokenized at first. English has 4 to 5 bytes per token, so nearly every text
/// that is cut had more tokens than fit, and one that had not costs nothing but one more part.
const BYTES_PER_TOKEN: usize = 16;

/// A longer text is tokenized in parts, if it can be: on its way from characters to tokens, a byte takes 64.
const PART_BYTES: usize = 1 << 15;

/// The tokens of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Rows of the word embedding table, with `[CLS]` and `[SEP]`.
    pub input_ids: Vec<u32>,
    /// The segment of each token: 0, or 1 in a second text.
    pub token_type_ids: Vec<u32>,
    /// Each token as the vocabulary spells it.
    pub tokens: Vec<String>,
    /// Where each token begins and ends in the text, in UTF-16 code units, as JavaScript's
    /// `slice` counts; `[0, 0]` for the tokens that are not from the text.
    pub offsets: Vec<[u32; 2]>,
    /// Whether the text had more tokens than the limit allows.
    pub truncated: bool,
}

/// The tokens of one text, as the encoder takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Ids {
    /// As in [`Tokens`].
    pub input_ids: Vec<u32>,
    /// As in [`Tokens`].
    pub token_type_ids: Vec<u32>,
    /// As in [`Tokens`].
    pub truncated: bool,
}

/// [`tokenizers::Tokenizer`] with a model of our own, and nothing behind it.
type Inner = TokenizerImpl<
    TokenModel,
    NormalizerWrapper,
    PreTokenizerWrapper,
    build::Nothing,
    build::Nothing,
>;

/// A folder's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    inner: Inner,
    post: PostProcessing,
    limit: Limit,
    side: Side,
    /// Without, every token is of segment 0.
    has_token_types: bool,
    special_ids: Vec<u32>,
    borders: Option<Borders>,
}

impl Tokenizer {
    /// The number of tokens that a text may have, unless a call sets another.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Whether an id is that of a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Number of tokens that are added to a text.
    pub fn special_token_count(&self) -> usize {
        self.post.template.special_token_count()
    }

    /// The ids of a text, as the encoder takes them.
    ///
    /// # Errors
    ///
    /// [`Error::Text`] for a text with a part that no token covers, if there is no unknown token; and for a limit that is
    /// not a number, or leaves no token.
    pub fn ids(&self, text: &str, limit: &Limit) -> Result<Ids> {
        let (Encoded { ids, .. }, truncated) = self.encode(text, limit, false)?;
        let (input_ids, token_type_ids) = self.post.template.ids(&ids);
        Ok(Ids { token_type_ids: self.types(token_type_ids), input_ids, truncated })
    }

    /// Number of tokens of a part of a text, without special ones, and how many of its bytes they are of: all of them where
    /// it `is_end` of the text, else those before its last border. The part begins the text, or begins where the one before
    /// it ended. 0 bytes: there is no border, so a larger part is needed.
    ///
    /// # Errors
    ///
    /// [`Error::Text`] for a part with something that is in no token, where there is no unknown token.
    pub fn count(&self, part: &str, is_end: bool) -> Result<(usize, usize)> {
        let last = || self.borders.as_ref().and_then(|borders| borders.last(part));
        let Some(end) = (if is_end { Some(part.len()) } else { last() }) else {
            return Ok((0, 0));
        };
        let encoding = self.inner.encode_fast(&part[..end], false);
        Ok((encoding.map_err(|error| Error::Text(error.to_string()))?.len(), end))
    }

    /// The tokens of a text with their spelling and place, for people to look at.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::ids`].
    pub fn tokens(&self, text: &str, limit: &Limit) -> Result<Tokens> {
        let (encoded, truncated) = self.encode(text, limit, true)?;
        let offsets = utf16_offsets(text, &encoded.offsets);
        let tokens = self.post.template.tokens(&encoded.ids, &encoded.tokens, &offsets, truncated);
        Ok(Tokens { token_type_ids: self.types(tokens.token_type_ids), ..tokens })
    }

    fn types(&self, mut token_type_ids: Vec<u32>) -> Vec<u32> {
        if !self.has_token_types {
            token_type_ids.fill(0);
        }
        token_type_ids
    }

    /// A token's place, within the text and on borders of characters, whatever the library says.
    fn place(&self, text: &str, (begin, end): (usize, usize)) -> (usize, usize) {
        let mut end = text.ceil_char_boundary(end.min(text.len()));
        let mut begin = text.floor_char_boundary(begin.min(end));
        if self.post.trims_offsets {
            let token = &text[begin..end];
            end = begin + token.trim_end().len();
            begin += token.len() - token.trim_start().len();
        }
        (begin.min(end), end)
    }

    /// The tokens of as much of the text as fits, without special ones, and whether anything was cut.
    fn encode(&self, text: &str, limit: &Limit, is_spelled: bool) -> Result<(Encoded, bool)> {
        let special = self.special_token_count();
        // As `post_process` of the tokenizers: a limit that the special tokens alone exceed is none.
        let room = match limit {
            Limit::None => None,
            Limit::Tokens(limit) => limit.checked_sub(special),
            Limit::Invalid(problem) => return Err(Error::Text(problem.clone())),
        };
        if *limit == Limit::Tokens(0) && room.is_some() {
            return Err(Error::Text("the limit of 0 tokens leaves nothing of the text".into()));
        }
        let fits = room.unwrap_or(usize::MAX);
        let part_len = fits.saturating_mul(BYTES_PER_TOKEN).clamp(1, PART_BYTES);
        let (mut parts, mut count, mut rest) = (Vec::new(), 0, 0..text.len());
        loop {
            let left = &text[rest.clone()];
            let part = match (&self.borders, self.side) {
                (None, _) => left,
                (Some(borders), Side::Right) => borders.beginning(left, part_len),
                (Some(borders), Side::Left) => borders.end(left, part_len),
            };
            let start = match self.side {
                Side::Right => rest.start,
                Side::Left => rest.end - part.len(),
            };
            let encoded = self.encode_part(part, start, is_spelled)?;
            count += encoded.ids.len();
            parts.push(encoded);
            match self.side {
                Side::Right => rest.start += part.len(),
                Side::Left => rest.end = start,
            }
            if rest.is_empty() || count > fits {
                break;
            }
        }
        if self.side == Side::Left {
            parts.reverse();
        }
        let mut all = Encoded::default();
        parts.into_iter().for_each(|part| all.append(part));
        let kept = match self.side {
            Side::Right => 0..count.min(fits),
            Side::Left => count.saturating_sub(fits)..count,
        };
        all.keep(kept);
        Ok((all, count > fits))
    }

    /// The tokens of a part that begins at `start` in its text.
    fn encode_part(&self, part: &str, start: usize, is_spelled: bool) -> Result<Encoded> {
        let failed = |error: tokenizers::Error| Error::Text(error.to_string());
        if !is_spelled {
            let encoding = self.inner.encode_fast(part, false).map_err(failed)?;
            return Ok(Encoded { ids: encoding.get_ids().to_vec(), ..Encoded::default() });
        }
        let encoding = self.inner.encode(part, false).map_err(failed)?;
        let places = encoding.get_offsets().iter().map(|&offsets| self.place(part, offsets));
        Ok(Encoded {
            ids: encoding.get_ids().to_vec(),
            tokens: encoding.get_tokens().to_vec(),
            offsets: places.map(|(begin, end)| (start + begin, start + end)).collect(),
        })
    }
}

/// Tokens without special ones. Where nobody asks for them, there is no spelling and there are no offsets.
#[derive(Default)]
struct Encoded {
    ids: Vec<u32>,
    tokens: Vec<String>,
    /// In bytes.
    offsets: Vec<(usize, usize)>,
}

impl Encoded {
    fn append(&mut self, mut other: Self) {
        self.ids.append(&mut other.ids);
        self.tokens.append(&mut other.tokens);
        self.offsets.append(&mut other.offsets);
    }

    fn keep(&mut self, kept: Range<usize>) {
        fn keep<T>(list: &mut Vec<T>, kept: Range<usize>) {
            list.truncate(kept.end);
            list.drain(..kept.start.min(list.len()));
        }
        keep(&mut self.ids, kept.clone());
        keep(&mut self.tokens, kept.clone());
        keep(&mut self.offsets, kept);
    }
}

/// Byte offsets as UTF-16 offsets; all of them are borders of characters.
fn utf16_offsets(text: &str, offsets: &[(usize, usize)]) -> Vec<[u32; 2]> {
    let end = offsets.iter().map(|&(_, end)| end).max().unwrap_or(0);
    // For each byte where a character begins, the UTF-16 units before it.
    let mut units = vec![0u32; end + 1];
    let mut count = 0;
    for (at, character) in text.char_indices().take_while(|&(at, _)| at <= end) {
        units[at] = count;
        count += character.len_utf16() as u32;
    }
    if end == text.len() {
        units[end] = count;
    }
    offsets.iter().map(|&(begin, end)| [units[begin], units[end]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of tokens, from parts of so many bytes at first.
    fn counted(tokenizer: &Tokenizer, text: &str, len: usize) -> usize {
        let (mut count, mut at, mut part_len) = (0, 0, len);
        loop {
            let rest = &text[at..];
            let part = &rest[..rest.floor_char_boundary(part_len)];
            let (tokens, end) = tokenizer.count(part, part.len() == rest.len()).expect("a count");
            count += tokens;
            at += end;
            part_len = if end == 0 { 2 * part_len } else { len };
            if at == text.len() {
                return count;
            }
        }
    }

    /// A tokenizer of SentencePiece's kind, with these sections.
    fn of_pieces(pre_tokenizer: &str, normalizer: &str) -> Tokenizer {
        let pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁a", "a", "b", "ab", "▁ba", "é", "漢"];
        let vocab: Vec<_> =
            pieces.iter().map(|piece| format!("[{piece:?}, -{}.0]", piece.len())).collect();
        let json = format!(
            r#"{{"version": "1.0", "added_tokens": [], "pre_tokenizer": {pre_tokenizer}, "normalizer": {normalizer},
                "model": {{"type": "Unigram", "unk_id": 3, "vocab": [{}]}}}}"#,
            vocab.join(",")
        );
        let config = r#"{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}"#;
        of_files([("tokenizer.json", json.as_str()), ("tokenizer_config.json", config)])
    }

    fn of_files<const N: usize>(files: [(&str, &str); N]) -> Tokenizer {
        try_files(files).expect("a tokenizer")
    }

    fn try_files<const N: usize>(files: [(&str, &str); N]) -> Result<Tokenizer> {
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into();
        let options = TokenizerOptions {
            overrides: embervec_json::Object::default(),
            config_class: None,
            default_class: "BertTokenizer",
            lowercase: false,
            max_seq_length: None,
            max_positions: 512,
            add_special_tokens: true,
        };
        Tokenizer::new(&Files::new(&files, ""), &options)
    }

    /// A folder without a tokenizer.json, so that nothing else says how its tokens are found.
    #[test]
    fn a_token_with_a_name_is_found_before_the_text_is_in_lower_case() {
        let ids = |vocab: &str, config: &str, text: &str| {
            let tokenizer = of_files([("vocab.txt", vocab), ("tokenizer_config.json", config)]);
            tokenizer.ids(text, &Limit::None).expect("tokens").input_ids
        };
        // As transformers 5.23 has them.
        let vocab = "<s>\n<pad>\n</s>\n<unk>\n[UNK]\n<mask>\n[\n]\nunk\n<\n>\ns\na\n";
        let config = r#"{"tokenizer_class": "MPNetTokenizer"}"#;
        let text = "a <mask> [UNK] [unk] <s> <S>";
        assert_eq!(ids(vocab, config, text), [0, 12, 5, 4, 6, 8, 7, 0, 9, 11, 10, 2]);

        let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfox\na\nFOX\n";
        let config = |normalized: &str| {
            format!(
                r#"{{"tokenizer_class": "BertTokenizer",
                    "mask_token": {{"__type": "AddedToken", "content": "FOX"{normalized}}}}}"#
            )
        };
        assert_eq!(ids(vocab, &config(""), "a fox FOX"), [2, 6, 5, 7, 3]);
        assert_eq!(ids(vocab, &config(r#", "normalized": true"#), "a fox FOX"), [2, 6, 7, 7, 3]);
    }

    /// transformers makes its template before it adds tokens, and fails.
    #[test]
    fn alberts_vocabulary_must_have_the_tokens_around_a_text() {
        let json = r#"{"version": "1.0", "added_tokens": [], "model": {"type": "Unigram", "unk_id": 1,
            "vocab": [["<pad>", 0.0], ["<unk>", 0.0], ["[CLS]", 0.0], ["[SEP]", 0.0], ["[MASK]", 0.0]]}}"#;
        let of_cls = |cls: &str| {
            let config =
                format!(r#"{{"tokenizer_class": "AlbertTokenizer", "cls_token": "{cls}"}}"#);
            try_files([("tokenizer.json", json), ("tokenizer_config.json", &config)])
        };
        of_cls("[CLS]").expect("a tokenizer");
        let error = of_cls("new").expect_err("no such piece").to_string();
        assert!(error.contains("cls_token"), "{error}");
    }

    #[test]
    fn a_long_text_has_the_tokens_and_places_of_one_part() {
        let words = r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}"#;
        let bert = r#"{"tokenizer_class": "BertTokenizer"}"#;
        let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nb\nab\n##b\né\ne\n##漢\n漢\n,\n";
        let alphabet: Vec<char> = "aabbé漢   , \t\n\u{301}\u{200d}ｂÉகி".chars().collect();
        let mut state = 9_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            alphabet[(state >> 33) as usize % alphabet.len()]
        };
        let text: String = (0..PART_BYTES).map(|_| next()).collect();
        for mut tokenizer in [
            of_pieces(words, "null"),
            of_pieces(words, r#"{"type": "NFKC"}"#),
            of_files([("vocab.txt", vocab), ("tokenizer_config.json", bert)]),
        ] {
            let whole = tokenizer.encode_part(&text, 0, true).expect("tokens");
            assert!(tokenizer.borders.is_some(), "it can be cut");
            for side in [Side::Left, Side::Right] {
                tokenizer.side = side;
                let (parts, is_cut) = tokenizer.encode(&text, &Limit::None, true).expect("tokens");
                assert!(!is_cut, "nothing is cut");
                assert_eq!(parts.ids, whole.ids);
                assert_eq!(parts.tokens, whole.tokens);
                assert_eq!(parts.offsets, whole.offsets);
            }
        }
    }

    #[test]
    fn a_text_that_is_cut_first_has_the_tokens_of_the_whole() {
        let metaspace = |scheme| {
            format!(
                r#"{{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "{scheme}", "split": true}}"#
            )
        };
        let words = format!(
            r#"{{"type": "Sequence", "pretokenizers": [{{"type": "WhitespaceSplit"}}, {}]}}"#,
            metaspace("always")
        );
        // Marks that join the space before, one that takes the character behind, and white space of other kinds.
        let alphabet: Vec<char> =
            "aabbé漢▁   \t\n\n\r\u{301}\u{600}\u{200d}\u{3000}ｂ<கி।»".chars().collect();
        let mut state = 1_u64;
        let mut next = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % end
        };
        let mut cut = 0;
        for pre_tokenizer in [words, metaspace("always"), metaspace("never"), metaspace("first")] {
            for normalizer in [
                "null",
                r#"{"type": "NFKC"}"#,
                r#"{"type": "Strip", "strip_left": true, "strip_right": true}"#,
            ] {
                let mut tokenizer = of_pieces(&pre_tokenizer, normalizer);
                for _ in 0..200 {
                    let length = next(900);
                    let text: String =
                        (0..length).map(|_| alphabet[next(alphabet.len())]).collect();
                    let whole = tokenizer.ids(&text, &Limit::None).expect("ids").input_ids;
                    for len in [1, 40] {
                        assert_eq!(counted(&tokenizer, &text, len), whole.len(), "{text:?}");
                    }
                    let room = 1 + next(8);
                    for side in [Side::Left, Side::Right] {
                        tokenizer.side = side;
                        let part = tokenizer.ids(&text, &Limit::Tokens(room)).expect("ids");
                        let kept = room.min(whole.len());
                        let expected = match side {
                            Side::Right => &whole[..kept],
                            Side::Left => &whole[whole.len() - kept..],
                        };
                        assert_eq!(part.input_ids, expected, "{pre_tokenizer}, {side:?}: {text:?}");
                        cut += usize::from(tokenizer.borders.as_ref().is_some_and(|borders| {
                            borders.beginning(&text, room * BYTES_PER_TOKEN).len() < text.len()
                        }));
                    }
                }
            }
        }
        assert!(cut > 500, "{cut}");
    }

    #[test]
    fn offsets_count_as_javascript_does() {
        // "é" has 2 bytes and 1 unit, "𝒳" 4 bytes and 2 units.
        let text = "é 𝒳 end";
        assert_eq!(
            utf16_offsets(text, &[(0, 0), (0, 2), (3, 7), (8, 11)]),
            [[0, 0], [0, 1], [2, 4], [5, 8]]
        );
        assert_eq!(utf16_offsets("", &[(0, 0)]), [[0, 0]]);
    }
}
