//! How large the parts of a tokenizer may be: everything that its files decide and memory or time depends on.

/// Added tokens, all together. Published encoders have up to a few hundred.
pub(crate) const MAX_ADDED_TOKENS: usize = 20_000;

/// Bytes of all added tokens.
pub(crate) const MAX_ADDED_BYTES: usize = 1 << 20;

/// Steps of one section, nested ones included. Published files have at most ten.
pub(crate) const MAX_STEPS: usize = 64;

/// By so much the steps of a normaliser may make a text longer, Unicode's own forms aside. Llama's, which put "▁" in
/// front and in the place of every space, count (1 + 3) · 3.
pub(crate) const MAX_GROWTH: usize = 16;

/// Bytes of what a normaliser puts in a text's place. Published ones put a space or a "▁" there.
pub(crate) const MAX_REPLACEMENT_BYTES: usize = 1024;
/// Tokens that a template puts around a text. Published ones have two or three.
pub(crate) const MAX_TEMPLATE_TOKENS: usize = 64;
/// Bytes of a text in a `precompiled_charsmap`: of SentencePiece's own, U+FDFA has the longest, 33.
pub(crate) const MAX_CHARSMAP_TEXT_BYTES: usize = 64;
/// Bytes of a regular expression. The longest of a published tokenizer, cl100k's, has 120; o200k's 420.
pub(crate) const MAX_REGEX_BYTES: usize = 4096;

/// Letters of a word that WordPiece cuts: each of them may be looked up with each one behind it. BERT's own limit is
/// 100, and no published file has more than 200.
pub(crate) const MAX_WORD_CHARS: usize = 256;

/// Tokens of a vocabulary, and merges. XLM-V, which has the most of published models, has 901,629.
pub(crate) const MAX_VOCABULARY: usize = 1 << 22;

/// Bytes of a piece of Unigram. SentencePiece's own limit is 16 characters.
pub(crate) const MAX_PIECE_BYTES: usize = 256;

/// Bytes of pieces of Unigram of which each is the beginning of the next one: at every place of a text all of them are
/// tried. XLM-RoBERTa's runs of "▁" have 16 · 17 / 2 · 3 = 408.
pub(crate) const MAX_PREFIX_BYTES: usize = 2048;

/// Steps of the automata that the regular expressions of a section are compiled to, nearly: each takes about 60
/// bytes. The longest of a published tokenizer, o200k's, has 46,000.
pub(crate) const MAX_REGEX_STEPS: usize = 1 << 17;
