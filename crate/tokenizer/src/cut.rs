//! Where a text can be cut before it is tokenized, such that the tokens of what is left are those of the whole.

use tokenizers::AddedToken;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;

/// Before which characters a tokenizer splits, whatever comes before and behind.
#[derive(Debug)]
pub(crate) struct Borders {
    rules: Rules,
    /// All characters of tokens such as `[MASK]`, which are found before anything is split.
    added_tokens: String,
}

#[derive(Debug)]
enum Rules {
    /// At white space and punctuation.
    Bert { ideographs: bool },
    /// At spaces, as SentencePiece's models: XLM-RoBERTa's, for one.
    Spaces,
}

impl Borders {
    /// `None` for other rules: then a text is tokenized whole.
    pub fn new(
        normalizer: Option<&NormalizerWrapper>,
        pre_tokenizer: Option<&PreTokenizerWrapper>,
        added_tokens: &[AddedToken],
    ) -> Option<Self> {
        let rules = match (normalizer, pre_tokenizer?) {
            (None, PreTokenizerWrapper::BertPreTokenizer(_)) => Rules::Bert { ideographs: false },
            (
                Some(NormalizerWrapper::BertNormalizer(normalizer)),
                PreTokenizerWrapper::BertPreTokenizer(_),
            ) => Rules::Bert { ideographs: normalizer.handle_chinese_chars },
            // A token that takes the spaces behind it takes them from the word that begins with one.
            (normalizer, pre_tokenizer)
                if normalizer.is_none_or(keeps_spaces)
                    && splits_at_spaces(pre_tokenizer)
                    && added_tokens.iter().all(|token| !token.rstrip) =>
            {
                Rules::Spaces
            }
            _ => return None,
        };
        let added_tokens = added_tokens.iter().map(|token| token.content.as_str()).collect();
        Some(Self { rules, added_tokens })
    }

    /// Whether `text` can be cut before the character at `at`.
    fn is_border(&self, text: &str, at: usize, character: char) -> bool {
        let splits = match (&self.rules, character) {
            (Rules::Spaces, ' ') => {
                let before = text[..at].chars().next_back();
                let behind = text[at + 1..].chars().next();
                before.is_some_and(stands_alone) && behind.is_some_and(stands_alone)
            }
            (Rules::Spaces, _) => false,
            (Rules::Bert { .. }, '\t' | '\n' | '\r') => true,
            (Rules::Bert { ideographs }, '\u{4e00}'..='\u{9fff}') => *ideographs,
            // Other control characters, though some are white space, are removed and split nothing.
            (Rules::Bert { .. }, _) => {
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
        let mut characters = text[len..].char_indices();
        let border = characters.find(|&(at, c)| self.is_border(text, len + at, c));
        border.map_or(text, |(border, _)| &text[..len + border])
    }

    /// The last border in `text`, other than its beginning.
    pub fn last(&self, text: &str) -> Option<usize> {
        let mut characters = text.char_indices().rev();
        characters.find(|&(at, c)| at > 0 && self.is_border(text, at, c)).map(|(at, _)| at)
    }

    /// The end of `text` that begins with the last border that leaves `len` bytes or more.
    pub fn end<'a>(&self, text: &'a str, len: usize) -> &'a str {
        let Some(before) = text.len().checked_sub(len) else { return text };
        // The border itself belongs to what is left.
        let before = text.ceil_char_boundary(before + 1);
        let mut characters = text[..before].char_indices().rev();
        let border = characters.find(|&(at, c)| self.is_border(text, at, c));
        border.map_or(text, |(border, _)| &text[border..])
    }
}

/// Whether a space stays what it is, and no step looks beyond it.
fn keeps_spaces(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        // It looks at what people take for one character, of which a space may be a part: see `stands_alone`.
        NormalizerWrapper::Precompiled(table) => table.normalize_string(" ") == " ",
        NormalizerWrapper::Lowercase(_)
        | NormalizerWrapper::NFC(_)
        | NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKC(_)
        | NormalizerWrapper::NFKD(_) => true,
        NormalizerWrapper::Sequence(steps) => steps.as_ref().iter().all(keeps_spaces),
        _ => false,
    }
}

/// Whether no word holds a space, other than as its first character.
fn splits_at_spaces(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::WhitespaceSplit(_) => true,
        PreTokenizerWrapper::Metaspace(metaspace) => {
            metaspace.split && metaspace.prepend_scheme != PrependScheme::First
        }
        // What comes behind the first sees single words. Only what has no eye for their place in the text may.
        PreTokenizerWrapper::Sequence(steps) => {
            !steps.as_ref().is_empty() && steps.as_ref().iter().all(splits_at_spaces)
        }
        _ => false,
    }
}

/// Whether a character makes no other one with a space beside it: letters without marks, numbers and signs of the scripts
/// that have spaces.
fn stands_alone(character: char) -> bool {
    character.is_ascii_graphic()
        || matches!(character,
            // Latin, Greek and Cyrillic, Hebrew's and Arabic's letters, Thai's consonants.
            '\u{c0}'..='\u{2ff}'
            | '\u{370}'..='\u{482}'
            | '\u{48a}'..='\u{52f}'
            | '\u{5d0}'..='\u{5ea}'
            | '\u{620}'..='\u{64a}'
            | '\u{e01}'..='\u{e30}'
            | '\u{1e00}'..='\u{1fff}'
            // Devanagari's letters, kana, ideographs, Hangul's syllables, full-width signs.
            | '\u{904}'..='\u{939}'
            | '\u{3001}'..='\u{3029}'
            | '\u{3041}'..='\u{3096}'
            | '\u{30a1}'..='\u{30fa}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{ff01}'..='\u{ff5e}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORDERS: Borders =
        Borders { rules: Rules::Bert { ideographs: true }, added_tokens: String::new() };

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
        let borders = Borders { rules: Rules::Bert { ideographs: false }, ..BORDERS };
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

    #[test]
    fn the_last_border_is_not_the_beginning() {
        assert_eq!(BORDERS.last("one two three"), Some(7));
        assert_eq!(BORDERS.last("one "), Some(3));
        assert_eq!(BORDERS.last(" one"), None);
        assert_eq!(BORDERS.last("ééé字"), Some(6));
        assert_eq!(BORDERS.last(""), None);
        let borders = Borders { rules: Rules::Spaces, ..BORDERS };
        assert_eq!(borders.last("one two th"), Some(7));
        // What comes behind is not known yet.
        assert_eq!(borders.last("one two "), Some(3));
    }

    #[test]
    fn spaces_between_characters_that_stand_alone_are_borders() {
        let borders = Borders { rules: Rules::Spaces, ..BORDERS };
        assert_eq!(borders.beginning("one, two three", 1), "one,");
        assert_eq!(borders.beginning("one  two three", 1), "one  two");
        assert_eq!(borders.beginning("one\ttwo three", 1), "one\ttwo");
        // Two marks that would join the space.
        assert_eq!(borders.beginning("one \u{301}two three", 1), "one \u{301}two");
        assert_eq!(borders.beginning("one\u{600} two three", 1), "one\u{600} two");
        assert_eq!(borders.beginning("один два", 1), "один");
        assert_eq!(borders.end("one two three", 4), " three");
        assert_eq!(borders.end("onetwothree", 4), "onetwothree");
        let borders = Borders { added_tokens: "<a b>".into(), ..borders };
        assert_eq!(borders.beginning("one two", 1), "one two");
    }
}
