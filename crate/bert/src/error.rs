//! What can go wrong between a model's files and its hidden states.

/// Every error names the file, the tensor or the setting that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A JSON file is not JSON, or lacks a field, or has one of the wrong type.
    #[error("{file} cannot be read: {source}")]
    Json {
        /// The file's path within the model folder.
        file: String,
        /// What the parser says, with line and column.
        source: serde_json::Error,
    },
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
    /// A value of `config.json` contradicts another or is out of every reasonable range.
    #[error("{file}: {problem}")]
    InvalidConfig {
        /// The file's path within the model folder.
        file: String,
        /// The setting, its value and what is wrong with it.
        problem: String,
    },
    /// The weight file is not a safetensors file, is cut off, or its header contradicts itself.
    #[error("{file} is damaged: {problem}")]
    Damaged {
        /// The file's path within the model folder.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// One tensor of the weight file is wrong.
    #[error("{file}, tensor \"{tensor}\": {problem}")]
    Tensor {
        /// The file's path within the model folder.
        file: String,
        /// The tensor's name as it stands in the file, or as it is expected there.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Token ids that this model cannot take.
    #[error("{0}")]
    InvalidInput(String),
    /// Burn could not hand over a result.
    #[error("reading a result from the device failed: {0}")]
    Device(String),
}
