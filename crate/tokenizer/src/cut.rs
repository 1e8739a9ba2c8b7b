//! Where a text can be cut before it is tokenized, such that the tokens of what is left are those of the whole.

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

/// Before which characters BERT's rules split, whatever stands around them.
#[derive(Debug)]
pub(crate) struct Borders {
    ideographs: bool,
    /// All characters of tokens such as `[MASK]`, which are found before anything is split.
    added_tokens: String,
}

impl Borders {
    /// `None` for rules other than BERT's: then a text is tokenized whole.
    pub fn new(
        normalizer: Option<&NormalizerWrapper>,
        pre_tokenizer: Option<&PreTokenizerWrapper>,
        added_tokens: impl Iterator<Item = String>,
    ) -> Option<Self> {
        let ideographs = match (normalizer, pre_tokenizer) {
            (None, Some(PreTokenizerWrapper::BertPreTokenizer(_))) => false,
            (
                Some(NormalizerWrapper::BertNormalizer(normalizer)),
                Some(PreTokenizerWrapper::BertPreTokenizer(_)),
            ) => normalizer.handle_chinese_chars,
            _ => return None,
        };
        Some(Self { ideographs, added_tokens: added_tokens.collect() })
    }

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

    /// The beginning of `text` that ends before the first border at or behind `len` bytes.
    pub fn beginning<'a>(&self, text: &'a str, len: usize) -> &'a str {
        if len >= text.len() {
            return text;
        }
        let len = text.ceil_char_boundary(len);
        let border = text[len..].find(|c| self.contains(c));
        border.map_or(text, |border| &text[..len + border])
    }

    /// The end of `text` that begins with the last border that leaves `len` bytes or more.
    pub fn end<'a>(&self, text: &'a str, len: usize) -> &'a str {
        let Some(before) = text.len().checked_sub(len) else { return text };
        // The border itself belongs to what is left.
        let before = text.ceil_char_boundary(before + 1);
        let border = text[..before].rfind(|c| self.contains(c));
        border.map_or(text, |border| &text[border..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORDERS: Borders = Borders { ideographs: true, added_tokens: String::new() };

    #[test]
    fn a_beginning_ends_before_a_border() {
        let borders = Borders { added_tokens: "[MASK]".into(), ..BORDERS };
        let beginning = |text, len| borders.beginning(text, len);
        assert_eq!(beginning("one two three", 2), "one");
        assert_eq!(beginning("one two three", 4), "one two");
        assert_eq!(beginning("one two three", 3), "one");
        assert_eq!(beginning("one", 2), "one");
        assert_eq!(beginning("ééé é", 1), "ééé");
        assert_eq!(beginning("one,two", 1), "one");
        assert_eq!(beginning("one漢字", 1), "one");
        assert_eq!(beginning("one[MASK]two three", 1), "one[MASK]two");
        // A form feed is removed: its neighbours are one word.
        assert_eq!(beginning("one\u{c}two three", 1), "one\u{c}two");
        let borders = Borders { ideographs: false, ..BORDERS };
        assert_eq!(borders.beginning("one漢字 x", 1), "one漢字");
    }

    #[test]
    fn an_end_begins_with_a_border() {
        let borders = Borders { added_tokens: "[MASK]".into(), ..BORDERS };
        let end = |text, len| borders.end(text, len);
        assert_eq!(end("one two three", 2), " three");
        assert_eq!(end("one two three", 6), " three");
        assert_eq!(end("one two three", 7), " two three");
        assert_eq!(end("one two three", 12), "one two three");
        assert_eq!(end("one two three", 99), "one two three");
        assert_eq!(end("one", 1), "one");
        assert_eq!(end("é ééé", 1), " ééé");
        assert_eq!(end("漢字one", 1), "字one");
        assert_eq!(end("one two[MASK]three", 1), " two[MASK]three");
        assert_eq!(end("", 0), "");
    }
}
