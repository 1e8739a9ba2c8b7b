//! Words, as a browser's `Intl.Segmenter` cuts them: `pkg/src/search/words.ts` makes the same ones of a query.

use icu_segmenter::WordSegmenter;
use icu_segmenter::options::WordBreakInvariantOptions;

/// UTF-16 code units of a word; the rest of it is cut off. Nobody searches for longer ones, and each is a term of the index.
const MAX_WORD: usize = 64;

/// The words of a text in their order, in lower case.
pub fn words_of(text: &str) -> Vec<String> {
    // Browsers have dictionaries for the languages without spaces, too.
    let segmenter = WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
    let mut words = Vec::new();
    let mut start = 0;
    for (end, kind) in segmenter.segment_str(text).iter_with_word_type() {
        if kind.is_word_like() {
            words.push(shortened(text[start..end].to_lowercase()));
        }
        start = end;
    }
    words
}

/// As JavaScript's `slice` and `TextEncoder` would have it: half of a pair of surrogates becomes U+FFFD.
fn shortened(word: String) -> String {
    if word.len() <= MAX_WORD {
        return word;
    }
    let units: Vec<u16> = word.encode_utf16().take(MAX_WORD).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_browser() {
        assert_eq!(
            words_of("Don't panic: 3.5 km, e-mail!"),
            ["don't", "panic", "3.5", "km", "e", "mail"]
        );
        assert_eq!(words_of("Straße ΣΟΦΟΣ İ"), ["straße", "σοφος", "i\u{307}"]);
        assert_eq!(words_of("我们喜欢自然语言"), ["我们", "喜欢", "自然", "语言"]);
        assert_eq!(words_of("ภาษาไทยง่าย"), ["ภาษา", "ไทย", "ง่าย"]);
        assert_eq!(words_of(" \n--"), [""; 0]);
    }

    #[test]
    fn long_words_are_cut_off() {
        assert_eq!(words_of(&"a".repeat(1000)), ["a".repeat(64)]);
        // Deseret letters are pairs of surrogates.
        let cut = format!("a{}\u{fffd}", "\u{10428}".repeat(31));
        assert_eq!(words_of(&format!("a{}", "\u{10400}".repeat(99))), [cut]);
    }
}
