//! What can go wrong between a model's files and its hidden states.

use embervec_weights as weights;

/// Every error names the file, the tensor or the setting that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A weight file is wrong.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The model is valid, but this encoder does not support it.
    #[error("{file}: {what} is not supported; supported: {supported}")]
    Unsupported {
        /// The file with the setting.
        file: String,
        /// The setting and its value.
        what: String,
        /// What would be accepted.
        supported: String,
    },
    /// `config.json` is not JSON, or a value in it has a type that transformers refuses, contradicts another value, or is
    /// outside any reasonable range.
    #[error("{file}: {problem}")]
    InvalidConfig {
        /// The file's path within the model folder.
        file: String,
        /// The setting, its value and what is wrong with it.
        problem: String,
    },
    /// Token ids that are not valid for this model.
    #[error("{0}")]
    InvalidInput(String),
    /// Burn could not return a result.
    #[error("reading a result from the device failed: {0}")]
    Device(String),
}
