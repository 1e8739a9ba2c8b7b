//! Where a text can be cut before it is tokenized, such that the tokens of what is left are those of the whole.

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{AddedToken, NormalizedString, Normalizer};

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
    /// At spaces, as SentencePiece's models: XLM-RoBERTa's, for one. `blanks` are those that split as spaces do.
    Spaces { blanks: String },
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
                let is_blank = |&blank: &char| splits_as_a_space(blank, normalizer, pre_tokenizer);
                Rules::Spaces { blanks: BLANKS.into_iter().filter(is_blank).collect() }
            }
            _ => return None,
        };
        let added_tokens = added_tokens.iter().map(|token| token.content.as_str()).collect();
        Some(Self { rules, added_tokens })
    }

    /// Whether `text` can be cut before the character at `at`.
    fn is_border(&self, text: &str, at: usize, character: char) -> bool {
        let splits = match (&self.rules, character) {
            (Rules::Spaces { blanks }, _) => {
                let before = || text[..at].chars().next_back();
                let behind = || text[at + character.len_utf8()..].chars().next();
                blanks.contains(character)
                    && before().is_some_and(ends_alone)
                    && behind().is_some_and(|c| stands_alone(c) || blanks.contains(c))
            }
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

/// What may split as a space does: lines of Chinese and Japanese, for one, hold no spaces.
const BLANKS: [char; 4] = [' ', '\n', '\r', '\u{3000}'];

/// Whether a word ends before a character because that becomes a space, or is white space that ends every word. A
/// carriage return is one character with the line feed behind it.
fn splits_as_a_space(
    character: char,
    normalizer: Option<&NormalizerWrapper>,
    pre_tokenizer: &PreTokenizerWrapper,
) -> bool {
    let is_white = splits_at_white_space(pre_tokenizer);
    [character.to_string(), format!("{character}\n")].into_iter().all(|text| {
        let mut text = NormalizedString::from(text);
        normalizer.is_none_or(|normalizer| normalizer.normalize(&mut text).is_ok())
            && text.get().starts_with(|c: char| c == ' ' || is_white && c.is_whitespace())
    })
}

/// Whether all white space is taken away first.
fn splits_at_white_space(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::WhitespaceSplit(_) => true,
        PreTokenizerWrapper::Sequence(steps) => {
            steps.as_ref().first().is_some_and(splits_at_white_space)
        }
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
/// that have spaces, and those that end a line without one.
fn stands_alone(character: char) -> bool {
    character.is_ascii_graphic()
        || matches!(character,
            // Latin with its signs, Greek and Cyrillic, Armenian, Hebrew's letters.
            '\u{a1}'..='\u{ac}'
            | '\u{ae}'..='\u{2ff}'
            | '\u{370}'..='\u{482}'
            | '\u{48a}'..='\u{52f}'
            | '\u{531}'..='\u{58a}'
            | '\u{5d0}'..='\u{5ea}'
            // Arabic's letters, Persian's and Urdu's among them, numbers and signs.
            | '\u{606}'..='\u{60f}'
            | '\u{61b}'
            | '\u{61e}'..='\u{64a}'
            | '\u{660}'..='\u{66f}'
            | '\u{671}'..='\u{6d5}'
            | '\u{6f0}'..='\u{6ff}'
            // Letters and numbers: Devanagari's, Bengali's, Gurmukhi's, Gujarati's, Odia's, Tamil's.
            | '\u{904}'..='\u{939}'
            | '\u{964}'..='\u{96f}'
            | '\u{985}'..='\u{9b9}'
            | '\u{9ce}'
            | '\u{9dc}'..='\u{9e1}'
            | '\u{9e6}'..='\u{9fa}'
            | '\u{a05}'..='\u{a39}'
            | '\u{a59}'..='\u{a6f}'
            | '\u{a85}'..='\u{ab9}'
            | '\u{ae6}'..='\u{aef}'
            | '\u{b05}'..='\u{b39}'
            | '\u{b5c}'..='\u{b61}'
            | '\u{b66}'..='\u{b6f}'
            | '\u{b83}'..='\u{bb9}'
            | '\u{be6}'..='\u{bfa}'
            // Telugu's, Kannada's, Malayalam's, Sinhala's, Thai's with the vowels that begin words, Lao's.
            | '\u{c05}'..='\u{c39}'
            | '\u{c66}'..='\u{c6f}'
            | '\u{c85}'..='\u{cb9}'
            | '\u{ce6}'..='\u{cef}'
            | '\u{d05}'..='\u{d3a}'
            | '\u{d66}'..='\u{d6f}'
            | '\u{d7a}'..='\u{d7f}'
            | '\u{d85}'..='\u{dc6}'
            | '\u{e01}'..='\u{e30}'
            | '\u{e40}'..='\u{e46}'
            | '\u{e50}'..='\u{e59}'
            | '\u{e81}'..='\u{eb0}'
            | '\u{ec0}'..='\u{ec6}'
            // Burmese's, Georgian's, Amharic's, Khmer's.
            | '\u{1000}'..='\u{102a}'
            | '\u{103f}'..='\u{104b}'
            | '\u{10a0}'..='\u{10ff}'
            | '\u{1200}'..='\u{135a}'
            | '\u{1360}'..='\u{137c}'
            | '\u{1780}'..='\u{17b3}'
            | '\u{17d4}'..='\u{17da}'
            | '\u{17e0}'..='\u{17e9}'
            | '\u{1c90}'..='\u{1cbf}'
            | '\u{1e00}'..='\u{1fff}'
            // Dashes and quotation marks, kana, Bopomofo, ideographs, Hangul's syllables, full-width signs.
            | '\u{2010}'..='\u{2027}'
            | '\u{2030}'..='\u{205e}'
            | '\u{3001}'..='\u{3029}'
            | '\u{3041}'..='\u{3096}'
            | '\u{30a1}'..='\u{30ff}'
            | '\u{3105}'..='\u{312f}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{ff01}'..='\u{ff5e}')
}

/// Whether a character makes no other one with a space behind it: marks belong to what is before them.
fn ends_alone(character: char) -> bool {
    stands_alone(character)
        || matches!(character,
            '\u{300}'..='\u{36f}'
            | '\u{591}'..='\u{5c7}'
            | '\u{64b}'..='\u{65f}'
            | '\u{900}'..='\u{d4d}'
            | '\u{d50}'..='\u{e7f}'
            | '\u{e80}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{135d}'..='\u{135f}'
            | '\u{1780}'..='\u{17d3}')
}

#[cfg(test)]
mod tests {
    use tokenizers::normalizers::{Lowercase, NFC, NFD, NFKC, NFKD};
    use unicode_segmentation::UnicodeSegmentation as _;

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
        let borders = Borders { rules: Rules::Spaces { blanks: " ".into() }, ..BORDERS };
        assert_eq!(borders.last("one two th"), Some(7));
        // What comes behind is not known yet.
        assert_eq!(borders.last("one two "), Some(3));
    }

    /// Each character beside each blank, in every form that a normalizer may give them.
    #[test]
    fn what_stands_alone_makes_no_other_character_with_a_blank() {
        let forms: [NormalizerWrapper; 5] =
            [NFC.into(), NFD.into(), NFKC.into(), NFKD.into(), Lowercase.into()];
        let normalized = |form: &NormalizerWrapper, text: &str| {
            let mut text = NormalizedString::from(text);
            form.normalize(&mut text).expect("a text");
            text.get().to_owned()
        };
        for character in ('\0'..=char::MAX).filter(|&c| ends_alone(c)) {
            for blank in BLANKS {
                let (end, begin) = (format!("a{character}"), format!("{blank}{character}a"));
                let ended = format!("{end}{blank}a");
                let clusters: Vec<_> = ended.graphemes(true).collect();
                let tail = blank.to_string();
                assert_eq!(clusters[clusters.len() - 2..], [&tail, "a"], "{character:?}");
                for form in &forms {
                    let parts = normalized(form, &end) + &normalized(form, &format!("{blank}a"));
                    assert_eq!(normalized(form, &ended), parts, "{character:?}");
                }
                if !stands_alone(character) {
                    continue;
                }
                let clusters: Vec<_> = begin.graphemes(true).collect();
                assert_eq!(clusters[0], tail, "{character:?}");
                for form in &forms {
                    let parts = normalized(form, &tail) + &normalized(form, &begin[tail.len()..]);
                    assert_eq!(normalized(form, &begin), parts, "{character:?}");
                }
            }
        }
    }

    #[test]
    fn blanks_are_what_a_tokenizer_splits_at() {
        let blanks = |normalizer: Option<&NormalizerWrapper>, pre_tokenizer: &str| {
            let pre_tokenizer = serde_json::from_str(pre_tokenizer).expect("a pre-tokenizer");
            match Borders::new(normalizer, Some(&pre_tokenizer), &[]).expect("borders").rules {
                Rules::Spaces { blanks } => blanks,
                rules @ Rules::Bert { .. } => panic!("{rules:?}"),
            }
        };
        let metaspace = r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#;
        let words = format!(
            r#"{{"type": "Sequence", "pretokenizers": [{{"type": "WhitespaceSplit"}}, {metaspace}]}}"#
        );
        assert_eq!(blanks(None, metaspace), " ");
        assert_eq!(blanks(Some(&NFKC.into()), metaspace), " \u{3000}");
        assert_eq!(blanks(None, &words), " \n\r\u{3000}");
        assert_eq!(blanks(None, r#"{"type": "WhitespaceSplit"}"#), " \n\r\u{3000}");
    }

    #[test]
    fn lines_of_scripts_without_spaces_are_cut() {
        let borders = Borders { rules: Rules::Spaces { blanks: " \n\r".into() }, ..BORDERS };
        assert_eq!(borders.beginning("東京の海。\n\n空は青い。", 1), "東京の海。");
        assert_eq!(borders.beginning("今天天气很好。\r\n明天", 1), "今天天气很好。");
        assert_eq!(borders.last("東京の海。\n空は青い。"), Some(15));
        // Between the two, no cut: they are one character.
        assert_eq!(borders.beginning("\r\n明天", 1), "\r\n明天");
        for text in
            ["தமிழ் மொழி", "বাংলা ভাষা", "Հայոց լեզու", "ქართული ენა", "عربی، فارسی", "one — two"]
        {
            let space = text.find(' ').expect("a space");
            assert_eq!(borders.beginning(text, 1), &text[..space]);
        }
    }

    #[test]
    fn spaces_between_characters_that_stand_alone_are_borders() {
        let borders = Borders { rules: Rules::Spaces { blanks: " ".into() }, ..BORDERS };
        assert_eq!(borders.beginning("one, two three", 1), "one,");
        assert_eq!(borders.beginning("one  two three", 1), "one");
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
