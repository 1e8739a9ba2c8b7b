//! Text encoders of the BERT kind in [Burn](https://burn.dev).
//!
//! ```text
//! config.json ─► EncoderSpec ─► its key table ─► embervec_weights::TensorReader ─► Encoder
//! PackedBatch ─► Encoder::forward ─► last_hidden_state
//! ```
//!
//! An [`EncoderSpec`] says what an encoder is, the same for all families. A family (`families/`) is one file that maps a
//! `config.json` and the names of tensors to it, as Hugging Face `transformers` has them; the code links each class.
//!
//! A [`StaticEmbedding`] is the mean of rows of a table, without an encoder.
//!
//! The model has no padding anywhere: a [`PackedBatch`] is the tokens of all texts one after the
//! other, and attention stays within each text's own range.

mod alibi;
mod batch;
mod config;
mod error;
mod families;
mod gpu;
mod loader;
pub mod model;
mod names;
pub mod ops;
mod pooling;
mod rotary;
mod spec;
mod static_embedding;

pub use batch::PackedBatch;
pub use config::config_object;
pub use error::Error;
pub use families::Family;
pub use gpu::{GPU_TOKENS_PER_BATCH, GpuNeeds};
pub use loader::ModelLoader;
pub use model::Encoder;
pub use pooling::{PoolingMode, SentencePooling, normalize};
pub use spec::{
    AttentionSpec, BERT_BASE_WEIGHTS, EncoderSpec, FeedForwardSpec, LocalAttention, NormSpec,
    Positions, RotarySpec,
};
pub use static_embedding::{StaticEmbedding, StaticLoader};

/// The result of every function here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
