//! The files of a sentence-transformers model folder and texts in, sentence embeddings out.
//!
//! ```text
//! modules.json ─► Folder ─► the small files ─► Recipe; then the weights in pieces ─► Loader ─► Embedder
//! texts ─► tokenizer ─► PackedBatch ─► Encoder or StaticEmbedding ─► pooling, dense, normalize ─► vectors
//! ```
//!
//! The folder's own files decide everything, as in `sentence-transformers`: pooling, length limit,
//! prompts, normalisation. Only `disk` knows where the bytes come from, so the same code runs
//! natively and in a browser.

mod activation;
#[cfg(not(target_family = "wasm"))]
mod disk;
mod embedder;
mod error;
mod folder;
mod layer;
mod loader;
mod model;
mod plan;
mod recipe;

#[cfg(not(target_family = "wasm"))]
pub use disk::{open_folder, read_folder};
pub use embervec_encoder::{GPU_TOKENS_PER_BATCH, GpuNeeds, PackedBatch, PoolingMode};
pub use embervec_tokenizer::Tokens;
pub use embervec_weights::WeightDtype;

pub use embedder::{
    CPU_TOKENS_PER_BATCH, Embedder, EncodeOptions, Encoded, EncoderFiles, Job, Output, Task,
};
pub use error::Error;
pub use folder::{FileKind, Folder, FolderFile};
pub use loader::Loader;

/// The result of every function here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
