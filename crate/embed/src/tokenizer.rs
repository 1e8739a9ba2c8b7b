//! Text to token ids: Hugging Face `tokenizers`, with the model's own length limit.

use tokenizers::decoders::DecoderWrapper;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::tokenizer::{Encoding, PostProcessor, TokenizerImpl, TruncationDirection};

use crate::word_piece::TokenModel;
use crate::{Error, Result};

/// A text of which at least this many bytes per token of the limit come is cut before it is
/// tokenized. English has 4 to 5 bytes per token, so nearly every text that is cut had more tokens
/// than fit, and one that had not costs a second, longer try.
const BYTES_PER_TOKEN: usize = 16;

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
    /// Whether the text had more tokens than the model takes.
    pub truncated: bool,
}

/// [`tokenizers::Tokenizer`] with a model of our own.
type Inner = TokenizerImpl<
    TokenModel,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

#[derive(Debug)]
pub(crate) struct Tokenizer {
    inner: Inner,
    max_seq_length: usize,
    /// `None` for rules other than BERT's: then a text is tokenized whole.
    borders: Option<Borders>,
}

/// Before which characters a text can be cut, such that the tokens of its beginning are the
/// beginning of its tokens: where BERT's rules split, whatever follows.
#[derive(Debug)]
struct Borders {
    ideographs: bool,
    /// All characters of tokens such as `[MASK]`, which are found before anything is split.
    added_tokens: String,
}

impl Borders {
    fn contains(&self, character: char) -> bool {
        let splits = match character {
            '\t' | '\n' | '\r' => true,
            '\u{4e00}'..='\u{9fff}' => self.ideographs,
            // Other control characters, though some are white space, are removed and split nothing.
            _ => {
                character.is_ascii_punctuation()
                    || character.is_whitespace() && !character.is_control()
            }
        };
        splits && !self.added_tokens.contains(character)
    }
}

/// The tokens of one text, without what only [`Tokens`] needs.
pub(crate) struct Ids {
    pub input_ids: Vec<u32>,
    pub token_type_ids: Vec<u32>,
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json`. The file's own truncation and padding are switched off:
    /// all-MiniLM-L6-v2's cut at 128 tokens and pad to 128, where its limit is 256.
    pub fn new(file: &str, json: &[u8], lowercase: bool) -> Result<Self> {
        let invalid = |problem: String| Error::InvalidFile { file: file.into(), problem };
        let mut inner = Inner::from_bytes(json)
            .map_err(|error| invalid(format!("is not a tokenizer: {error}")))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| invalid(error.to_string()))?;

        let splits_ideographs = match (inner.get_normalizer(), inner.get_pre_tokenizer()) {
            (None, Some(PreTokenizerWrapper::BertPreTokenizer(_))) => Some(false),
            (
                Some(NormalizerWrapper::BertNormalizer(normalizer)),
                Some(PreTokenizerWrapper::BertPreTokenizer(_)),
            ) => Some(normalizer.handle_chinese_chars),
            _ => None,
        };
        let added_tokens = inner.get_added_tokens_decoder().into_values();
        let borders = splits_ideographs.map(|ideographs| Borders {
            ideographs,
            added_tokens: added_tokens.map(|token| token.content).collect(),
        });

        if lowercase {
            let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
            steps.extend(inner.get_normalizer().cloned());
            let steps = NormalizerWrapper::Sequence(Sequence::new(steps));
            inner.with_normalizer(Some(steps)).map_err(|error| invalid(error.to_string()))?;
        }
        Ok(Self { inner, max_seq_length: usize::MAX, borders })
    }

    /// Sets the number of tokens, special ones included, that a text is cut to.
    pub fn set_max_seq_length(&mut self, file: &str, max_seq_length: usize) -> Result<()> {
        if max_seq_length <= self.special_token_count() {
            return Err(Error::InvalidFile {
                file: file.into(),
                problem: format!(
                    "max_seq_length {max_seq_length} leaves no room beside the special tokens"
                ),
            });
        }
        self.max_seq_length = max_seq_length;
        Ok(())
    }

    pub fn max_seq_length(&self) -> usize {
        self.max_seq_length
    }

    /// The largest id there is.
    pub fn max_id(&self) -> u32 {
        let added = self.inner.get_added_tokens_decoder().into_keys().max().unwrap_or(0);
        self.inner.get_model().max_id().max(added)
    }

    /// The ids of a text, as the encoder takes them.
    pub fn ids(&self, text: &str) -> Result<Ids> {
        let encode = |text: &str| self.inner.encode_fast(text, false);
        let (encoding, truncated) = self.encode_truncated(text, encode)?;
        Ok(Ids {
            input_ids: encoding.get_ids().to_vec(),
            token_type_ids: encoding.get_type_ids().to_vec(),
            truncated,
        })
    }

    /// The tokens of a text, for people to look at.
    pub fn tokens(&self, text: &str) -> Result<Tokens> {
        let encode = |text: &str| self.inner.encode(text, false);
        let (encoding, truncated) = self.encode_truncated(text, encode)?;
        Ok(Tokens {
            input_ids: encoding.get_ids().to_vec(),
            token_type_ids: encoding.get_type_ids().to_vec(),
            tokens: encoding.get_tokens().to_vec(),
            offsets: utf16_offsets(text, encoding.get_offsets()),
            truncated,
        })
    }

    /// Number of tokens of a prompt without the closing special token, as sentence-transformers
    /// counts them to leave a prompt out of the pooling.
    pub fn prompt_length(&self, prompt: &str) -> Result<usize> {
        let ids = self.ids(prompt)?.input_ids;
        let added = self.inner.get_added_tokens_decoder();
        let ends_special =
            ids.last().and_then(|id| added.get(id)).is_some_and(|token| token.special);
        Ok(ids.len() - usize::from(ends_special))
    }

    /// Number of tokens that the post-processor adds to one text.
    fn special_token_count(&self) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// Encodes as much of the text as matters, cuts it to the limit and adds the special tokens.
    fn encode_truncated(
        &self,
        text: &str,
        encode: impl Fn(&str) -> tokenizers::Result<Encoding>,
    ) -> Result<(Encoding, bool)> {
        let failed = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
        let room = self.max_seq_length - self.special_token_count();
        let mut prefix_len = self.max_seq_length.saturating_mul(BYTES_PER_TOKEN);
        let mut encoding = loop {
            let prefix = match &self.borders {
                Some(borders) => whole_words(text, prefix_len, borders),
                None => text,
            };
            let encoding = encode(prefix).map_err(failed)?;
            if encoding.len() > room || prefix.len() == text.len() {
                break encoding;
            }
            prefix_len = prefix_len.saturating_mul(4);
        };
        let truncated = encoding.len() > room;
        if truncated {
            encoding.truncate(room, 0, TruncationDirection::Right);
            encoding.take_overflowing();
        }
        let encoding = self.inner.post_process(encoding, None, true).map_err(failed)?;
        Ok((encoding, truncated))
    }
}

/// The beginning of `text` that ends before the first border at or behind `len` bytes.
fn whole_words<'a>(text: &'a str, len: usize, borders: &Borders) -> &'a str {
    if len >= text.len() {
        return text;
    }
    let len = text.ceil_char_boundary(len);
    text[len..].find(|c| borders.contains(c)).map_or(text, |border| &text[..len + border])
}

/// Byte offsets as UTF-16 offsets.
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

    #[test]
    fn a_prefix_ends_before_a_border() {
        let borders = Borders { ideographs: true, added_tokens: "[MASK]".into() };
        let prefix = |text, len| whole_words(text, len, &borders);
        assert_eq!(prefix("one two three", 2), "one");
        assert_eq!(prefix("one two three", 4), "one two");
        assert_eq!(prefix("one two three", 3), "one");
        assert_eq!(prefix("one", 2), "one");
        assert_eq!(prefix("ééé é", 1), "ééé");
        assert_eq!(prefix("one,two", 1), "one");
        assert_eq!(prefix("one漢字", 1), "one");
        assert_eq!(prefix("one[MASK]two three", 1), "one[MASK]two");
        // A form feed is removed: its neighbours are one word.
        assert_eq!(prefix("one\u{c}two three", 1), "one\u{c}two");
        let borders = Borders { ideographs: false, added_tokens: String::new() };
        assert_eq!(whole_words("one漢字 x", 1, &borders), "one漢字");
    }
}
