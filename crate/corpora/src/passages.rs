//! Long texts in passages.

use anyhow::Result;
use unicode_segmentation::UnicodeSegmentation;

/// The most tokens of a passage, `[CLS]` and `[SEP]` not counted: as `SearchIndex` splits texts by default. A shorter passage is
/// about fewer things, and is found more easily.
pub const MAX_TOKENS: usize = 126;

/// Counts the tokens of a text.
pub type Count<'a> = dyn Fn(&str) -> Result<usize> + 'a;

/// A text in passages of whole sentences; a sentence that is too long alone is cut between clauses or words.
///
/// Paragraphs are separated by an empty line, and share a passage where they are short. White space means nothing else.
///
/// # Errors
///
/// Those of `count`.
pub fn split(text: &str, max_tokens: usize, count: &Count) -> Result<Vec<String>> {
    let mut pieces = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = collapse(paragraph);
        let mut is_first = true;
        for sentence in paragraph.unicode_sentences() {
            for piece in cut(sentence.trim(), max_tokens, count)? {
                pieces.push(Piece { begins_paragraph: is_first, ..piece });
                is_first = false;
            }
        }
    }

    let mut passages = Vec::new();
    let mut passage = String::new();
    let mut tokens = 0;
    for piece in pieces {
        // A paragraph begins a new passage where half of one is full, so that few passages are about the ends of two.
        let limit = if piece.begins_paragraph { max_tokens / 2 } else { max_tokens };
        let is_full = tokens + piece.tokens > max_tokens || tokens > limit;
        if is_full && !passage.is_empty() {
            passages.push(std::mem::take(&mut passage));
            tokens = 0;
        }
        if !passage.is_empty() {
            passage.push(if piece.begins_paragraph { '\n' } else { ' ' });
        }
        passage.push_str(&piece.text);
        tokens += piece.tokens;
    }
    if !passage.is_empty() {
        passages.push(passage);
    }
    Ok(passages)
}

/// What fits into one passage.
struct Piece {
    text: String,
    tokens: usize,
    begins_paragraph: bool,
}

/// A sentence whole, or after each `;`, `:` and dash, or after words.
fn cut(sentence: &str, max_tokens: usize, count: &Count) -> Result<Vec<Piece>> {
    let piece = |text: &str| -> Result<Piece> {
        let text = text.trim();
        Ok(Piece { text: text.into(), tokens: count(text)?, begins_paragraph: false })
    };
    if sentence.is_empty() {
        return Ok(Vec::new());
    }
    let whole = piece(sentence)?;
    if whole.tokens <= max_tokens {
        return Ok(vec![whole]);
    }
    let mut pieces = Vec::new();
    for clause in sentence.split_inclusive([';', ':', '—']) {
        let clause = piece(clause)?;
        if clause.tokens <= max_tokens {
            pieces.push(clause);
            continue;
        }
        let mut part = String::new();
        for word in clause.text.split(' ') {
            let longer = if part.is_empty() { word.to_owned() } else { format!("{part} {word}") };
            if !part.is_empty() && count(&longer)? > max_tokens {
                pieces.push(piece(&part)?);
                part = word.to_owned();
            } else {
                part = longer;
            }
        }
        pieces.push(piece(&part)?);
    }
    Ok(pieces)
}

/// The words of a text with one space between them.
pub fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_by_words(text: &str, max: usize) -> Vec<String> {
        split(text, max, &|text| Ok(text.split_whitespace().count())).expect("counting cannot fail")
    }

    #[test]
    fn whole_sentences_fill_a_passage() {
        assert_eq!(
            split_by_words("One two. Three\nfour five. Six.", 5),
            ["One two. Three four five.", "Six."]
        );
    }

    #[test]
    fn short_paragraphs_share_a_passage_and_half_a_passage_ends_with_its_paragraph() {
        assert_eq!(
            split_by_words("\"Ay.\"\n\n\"No.\"\n\nWhy not?", 6),
            ["\"Ay.\"\n\"No.\"\nWhy not?"]
        );
        assert_eq!(
            split_by_words("One two three four.\n\nFive.", 6),
            ["One two three four.", "Five."]
        );
    }

    #[test]
    fn a_long_sentence_is_cut_between_clauses_then_between_words() {
        assert_eq!(split_by_words("a b c; d e f g h i j; k", 4), ["a b c;", "d e f g", "h i j; k"]);
    }

    #[test]
    fn nothing_is_lost() {
        let text = "Call me X. Some years ago—never mind how long—I thought I would sail; then:\n\nI did. ".repeat(9);
        for max in [1, 2, 3, 7, 50, 1000] {
            let words = |text: &str| {
                text.replace('—', "— ").split_whitespace().collect::<Vec<_>>().concat()
            };
            assert_eq!(words(&split_by_words(&text, max).join(" ")), words(&text), "{max}");
        }
    }
}
