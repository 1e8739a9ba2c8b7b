//! What can go wrong with a weight file.

/// Every error names the file, and the tensor that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not a safetensors file, is truncated, or has a header that contradicts itself.
    #[error("{file} is damaged: {problem}")]
    Damaged {
        /// The file's path within the model folder.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// One tensor of the file is wrong.
    #[error("{file}, tensor \"{tensor}\": {problem}")]
    Tensor {
        /// The file's path within the model folder.
        file: String,
        /// The tensor's name in the file, or the name that is expected there.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is valid, but cannot be used as requested.
    #[error("{file}: {what} is not supported; supported: {supported}")]
    Unsupported {
        /// The file's path within the model folder.
        file: String,
        /// What was requested.
        what: String,
        /// What would be accepted.
        supported: String,
    },
    /// An argument is invalid.
    #[error("{0}")]
    InvalidInput(String),
}
