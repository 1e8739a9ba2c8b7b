//! The files of a sentence-transformers model folder and texts in, sentence embeddings out.
//!
//! ```text
//! modules.json ─► FolderPlan ─► the small files, then the weights in pieces ─► Loader ─► Embedder
//! texts ─► tokenizer ─► PackedBatch ─► BertModel ─► pooling, dense, normalize ─► vectors
//! ```
//!
//! The folder's own files decide everything, as in `sentence-transformers`: pooling, length limit,
//! prompts, normalisation. Only `disk` knows where the bytes come from, so the same code runs
//! natively and in a browser.

#[cfg(not(target_family = "wasm"))]
mod disk;
mod embedder;
mod error;
mod folder;
mod loader;
pub mod modules;
mod tokenizer;
mod word_piece;

#[cfg(not(target_family = "wasm"))]
pub use disk::open_folder;
pub use embervec_bert::{GpuNeeds, PackedBatch, PoolingMode, WeightDtype};

pub use embedder::{Embedder, EncodeOptions, Encoded, EncoderFiles, Job, Output, Prompt};
pub use error::Error;
pub use folder::{FolderFile, FolderPlan};
pub use loader::Loader;
pub use tokenizer::Tokens;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
