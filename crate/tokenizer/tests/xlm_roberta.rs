//! XLM-RoBERTa's own vocabulary, 250,002 pieces, beside the library: `cargo xtask test heavy` makes the folder and names it.

use std::time::Instant;

use embervec_json::Object;
use embervec_tokenizer::{Files, Limit, Tokenizer, TokenizerOptions};

/// One block of letters for each of these scripts: Latin, its accents, Greek, Cyrillic, Armenian, Hebrew, Arabic,
/// Devanagari, Bengali, Gurmukhi, Gujarati, Tamil, Telugu, Kannada, Malayalam, Sinhala, Thai, Lao, Tibetan, Burmese,
/// Georgian, Hangul's letters, Amharic, Khmer, Mongolian, kana, ideographs, Hangul; then punctuation, marks, joiners, forms
/// of width, emoji, and letters beyond 16 bits.
const BLOCKS: [(u32, u32); 38] = [
    (0x20, 0x7e),
    (0xa0, 0x17f),
    (0x370, 0x3ff),
    (0x400, 0x52f),
    (0x531, 0x587),
    (0x591, 0x5ea),
    (0x600, 0x6ff),
    (0x900, 0x97f),
    (0x980, 0x9fb),
    (0xa01, 0xa75),
    (0xa81, 0xaf1),
    (0xb82, 0xbfa),
    (0xc00, 0xc7f),
    (0xc80, 0xcf2),
    (0xd00, 0xd7f),
    (0xd82, 0xdf4),
    (0xe01, 0xe5b),
    (0xe81, 0xedf),
    (0xf00, 0xfbc),
    (0x1000, 0x109f),
    (0x10a0, 0x10ff),
    (0x1100, 0x11ff),
    (0x1200, 0x137c),
    (0x1780, 0x17f9),
    (0x1820, 0x18aa),
    (0x3041, 0x30ff),
    (0x4e00, 0x4fff),
    (0xac00, 0xad00),
    (0x2000, 0x206f),
    (0x300, 0x36f),
    (0x200b, 0x200f),
    (0xff01, 0xffe6),
    (0xfb00, 0xfdfb),
    (0x1f300, 0x1f64f),
    (0x1f1e6, 0x1f1ff),
    (0x1d400, 0x1d7ff),
    (0x20000, 0x200ff),
    (0x0, 0x1f),
];

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }

    /// Pieces of the vocabulary, so that every script has words, and characters of a few blocks between them.
    fn line(&mut self, theirs: &tokenizers::Tokenizer) -> String {
        let mut line = String::new();
        let blocks = [self.below(BLOCKS.len()), self.below(BLOCKS.len()), 0];
        for _ in 0..1 + self.below(24) {
            match self.below(8) {
                0..=3 => {
                    let piece = theirs.id_to_token(self.below(250_002) as u32).expect("a piece");
                    line.push_str(&piece.replace('▁', " "));
                }
                4 => line.push_str(
                    ["  ", " ", "\t", "\n", "\u{3000}", "▁", "<mask>", "<unk>"][self.below(8)],
                ),
                _ => {
                    let (first, last) = BLOCKS[blocks[self.below(3)]];
                    for _ in 0..1 + self.below(6) {
                        let code = first + self.below((last - first + 1) as usize) as u32;
                        line.extend(char::from_u32(code));
                    }
                }
            }
        }
        line
    }
}

#[test]
#[ignore = "needs XLM-RoBERTa's vocabulary, of a package of 91 MB"]
fn tokens_and_places_are_the_librarys() {
    let folder = std::env::var("EMBERVEC_XLM_ROBERTA").expect("the folder with tokenizer.json");
    let json = std::fs::read(format!("{folder}/tokenizer.json")).expect("tokenizer.json");
    let config = br#"{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}"#;
    let files = [("tokenizer.json", json), ("tokenizer_config.json", config.to_vec())];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    let options = TokenizerOptions {
        overrides: Object::default(),
        config_class: None,
        default_class: "BertTokenizer",
        lowercase: false,
        max_seq_length: None,
        max_positions: 512,
        add_special_tokens: true,
    };
    let started = Instant::now();
    let ours = Tokenizer::new(&Files::new(&files, ""), &options).expect("a tokenizer");
    println!("read in {:?}", started.elapsed());
    let theirs = tokenizers::Tokenizer::from_bytes(&files["tokenizer.json"]).expect("a tokenizer");
    let hello = ours.ids("Hello world", &Limit::None).expect("ids");
    assert_eq!(hello.input_ids, [0, 35378, 8999, 2]);

    let mut random = Random(1);
    let mut tokens = 0;
    let (mut ours_took, mut theirs_took) = (0.0, 0.0);
    for _ in 0..10_000 {
        let line = random.line(&theirs);
        let started = Instant::now();
        let mine = ours.tokens(&line, &Limit::None).expect("tokens");
        ours_took += started.elapsed().as_secs_f64();
        let started = Instant::now();
        let expected = theirs.encode(line.as_str(), true).expect("tokens");
        theirs_took += started.elapsed().as_secs_f64();
        assert_eq!(mine.input_ids, expected.get_ids(), "{line:?}");
        assert_eq!(mine.tokens, expected.get_tokens(), "{line:?}");
        let utf16 = |at: usize| line[..at].encode_utf16().count() as u32;
        for (&[begin, end], &(first, last)) in mine.offsets.iter().zip(expected.get_offsets()) {
            // The library's may lie within a character, where a character becomes several.
            let (first, last) = (line.floor_char_boundary(first), line.ceil_char_boundary(last));
            assert_eq!([begin, end], [utf16(first), utf16(last)], "{line:?}");
        }
        tokens += mine.input_ids.len();
    }
    println!("{tokens} tokens: {ours_took:.2} s, the library {theirs_took:.2} s");
    assert!(tokens > 200_000, "{tokens}");
}
