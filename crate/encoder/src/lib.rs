//! The BERT encoder in [Burn](https://burn.dev).
//!
//! ```text
//! config.json ─► BertConfig ─► keys::key_table ─► embervec_weights::TensorReader ─► BertModel
//! PackedBatch ─► BertModel::forward ─► last_hidden_state
//! ```
//!
//! Source: Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language
//! Understanding* (<https://arxiv.org/abs/1810.04805>), as implemented by Hugging Face
//! `transformers`; each struct of [`model`] links the class that it mirrors.
//!
//! The model has no padding anywhere: a [`PackedBatch`] is the tokens of all texts one after the
//! other, and attention stays within each text's own range.

mod batch;
mod config;
mod error;
mod gpu;
pub mod keys;
mod loader;
pub mod model;
pub mod ops;
mod pooling;

pub use batch::PackedBatch;
pub use config::{BERT_BASE_WEIGHTS, BertConfig, SUPPORTED_MODEL_TYPES, config_object};
pub use error::Error;
pub use gpu::{GPU_TOKENS_PER_BATCH, GpuNeeds};
pub use loader::ModelLoader;
pub use model::BertModel;
pub use pooling::{PoolingMode, SentencePooling, normalize};

/// The result of every function here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
