//! What can go wrong between a model's files and its hidden states.

use embervec_weights as weights;

/// Every error names the file, the tensor or the setting that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From a weight file.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The model is sound but of a kind that this encoder does not compute.
    #[error("{file}: {what} is not supported; supported: {supported}")]
    Unsupported {
        /// The file that says so.
        file: String,
        /// The setting and its value.
        what: String,
        /// What would be accepted.
        supported: String,
    },
    /// `config.json` is not JSON, or a value in it has another type than transformers takes, contradicts another or is
    /// out of every reasonable range.
    #[error("{file}: {problem}")]
    InvalidConfig {
        /// The file's path within the model folder.
        file: String,
        /// The setting, its value and what is wrong with it.
        problem: String,
    },
    /// Token ids that this model cannot take.
    #[error("{0}")]
    InvalidInput(String),
    /// Burn could not hand over a result.
    #[error("reading a result from the device failed: {0}")]
    Device(String),
}
