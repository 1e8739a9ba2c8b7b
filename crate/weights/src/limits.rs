//! How large the parts of a model may be: everything that a folder's files decide and memory or time depends on.
//!
//! Published encoders stay far below: BERT-large is 1024 wide with 24 layers, ModernBERT-large reads 8,192 tokens, and the
//! largest vocabularies have 250,002 (XLM-RoBERTa) to 501,153 (LaBSE) words. A file that goes beyond is damaged or hostile.
//!
//! All products of sizes are made in 64 bits, where two of the largest dimensions fit several times, because a 32-bit
//! `usize`, as in wasm, would wrap.

use embervec_kernels::MAX_IN_FEATURES_Q8;

/// Values of a vector, rows of a table, or tokens of a text: 4,194,304.
pub const MAX_DIMENSION: usize = 1 << 22;

/// Layers of an encoder.
pub const MAX_LAYERS: usize = 1 << 10;

/// Inputs of a linear layer in 8 bits, whose sums must stay within 32 bits.
pub const MAX_Q8_WIDTH: usize = MAX_IN_FEATURES_Q8;

/// Bytes of a safetensors header. A tensor takes about 100 bytes: BERT-large's 391 take 40 kB, and this is enough for
/// 160,000. The first 8 bytes of a web page or of a JSON file declare far more.
pub const MAX_HEADER_BYTES: u64 = 16_000_000;

/// Bytes of a small file, such as `config.json` or `tokenizer.json` (XLM-RoBERTa: 17 MB).
pub const MAX_SMALL_FILE_BYTES: usize = 128 << 20;

/// Modules of a model. Published ones have at most five.
pub const MAX_MODULES: usize = 256;
/// Files that the weights can be split into.
pub const MAX_SHARDS: usize = 1 << 10;

/// Bytes that are reserved for a tensor before its bytes arrive, if the file's length is not known.
pub const MAX_UNSEEN_BYTES: usize = 4 << 20;
