//! The texts of every case, and what must hold for their tokens.

use embervec_embed::Tokens;

/// Every case has these.
const TEXTS: &[&str] = &[
    "",
    " ",
    "The quick brown fox jumps over the lazy dog.",
    "a [MASK] b[SEP]c <s>d</s><mask> [unused1]",
    "caf\u{e9} cafe\u{301} \u{130}stanbul \u{fb01}ne \u{fdfa} stra\u{df}e",
    "\u{1f600} \u{1f469}\u{1f3fd}\u{200d}\u{1f680} \u{1d4b3}",
    "\u{4f60}\u{597d}\u{4e16}\u{754c}, \u{ac00}\u{11a8} \u{e01}\u{e33}",
    "it's 1234.5\t\u{2581}\u{2581}x\r\n\u{0}\u{7}\u{feff}\u{fffd}\u{200b}",
    "walking walked unwalkable ab aab abb aaaaaaaa",
    "e\u{301}\u{301}\u{301}\u{323} \u{301}",
];

/// A text of an archive is no longer than this. The library keeps up to 300 bytes for a byte of a text, which its
/// tokens are about, and twice 17 for a byte of what normalisation makes of it, which is up to 16 times as long: 5 MB
/// and 9 MB.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// An archive has no more of them.
const MAX_TEXTS: usize = 16;

/// The texts of a case: the usual ones, and the lines of the archive's `texts.txt`. `30000*a` is 30,000 times "a".
pub fn texts(lines: Option<&[u8]>) -> Vec<String> {
    let lines = String::from_utf8_lossy(lines.unwrap_or_default());
    let own = lines.split('\n').filter(|line| !line.is_empty()).take(MAX_TEXTS).map(|line| {
        let repeated = line.split_once('*').and_then(|(count, text)| {
            let count = count.parse::<usize>().ok()?;
            Some(text.repeat(count.min(MAX_TEXT_BYTES / text.len().max(1))))
        });
        repeated.unwrap_or_else(|| line.into())
    });
    TEXTS.iter().map(|&text| text.to_owned()).chain(own).collect()
}

/// What is wrong with the tokens of a text.
pub fn check_tokens(text: &str, tokens: &Tokens, limit: Option<usize>) -> Result<(), String> {
    let Tokens { input_ids, token_type_ids, tokens, offsets, truncated: _ } = tokens;
    let count = input_ids.len();
    let lengths = [token_type_ids.len(), tokens.len(), offsets.len()];
    if lengths != [count; 3] {
        return Err(format!("{count} ids, but {lengths:?} types, tokens and offsets"));
    }
    if let Some(limit) = limit
        && count > limit
    {
        return Err(format!("{count} tokens, but the limit is {limit}"));
    }
    // The library has code that makes strings of bytes unchecked.
    if let Some(token) = tokens.iter().find(|token| str::from_utf8(token.as_bytes()).is_err()) {
        return Err(format!("the token {:?} is not UTF-8", token.as_bytes()));
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    let is_low = |at: usize| units.get(at).is_some_and(|unit| (0xdc00..0xe000).contains(unit));
    for &[begin, end] in offsets {
        let [begin, end] = [begin, end].map(|at| at as usize);
        if begin > end || end > units.len() {
            return Err(format!("[{begin}, {end}] lies outside of a text of {}", units.len()));
        }
        if is_low(begin) || is_low(end) {
            return Err(format!("[{begin}, {end}] cuts a character"));
        }
    }
    Ok(())
}
