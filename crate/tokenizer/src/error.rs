//! What can go wrong between a folder's files and a text's tokens.

/// Every error names the file and the key that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A required file is missing.
    #[error("{file} is missing from the model folder")]
    MissingFile {
        /// The file's path within the folder.
        file: String,
    },
    /// A file is damaged.
    #[error("{file}: {problem}")]
    Damaged {
        /// The file's path within the folder.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file can be read, but does not describe a valid tokenizer.
    #[error("{file}: {problem}")]
    InvalidFile {
        /// The file's path within the folder.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is valid, but requires something that is not supported here.
    #[error("{file}: {what} is not supported; supported: {supported}")]
    Unsupported {
        /// The file with the setting.
        file: String,
        /// The setting and its value.
        what: String,
        /// What would be accepted.
        supported: String,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer failed: {0}")]
    Text(String),
}

/// The result of every function here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
