//! What can go wrong between a folder's files and a text's vector.

use embervec_bert as bert;

/// Every error names the file, the tensor or the option that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// From the encoder or its weights.
    #[error(transparent)]
    Bert(#[from] bert::Error),
    /// A file that the folder must have is not there.
    #[error("{file} is missing from the model folder")]
    MissingFile {
        /// The file's path within the folder.
        file: String,
    },
    /// A file is there but cannot be used.
    #[error("{file}: {problem}")]
    InvalidFile {
        /// The file's path within the folder.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is there but the disk does not deliver it.
    #[error("{file} cannot be read: {source}")]
    Io {
        /// The file's path.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A call that cannot be answered.
    #[error("{0}")]
    InvalidInput(String),
    /// The tokenizer refused a text.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}

impl Error {
    /// The code of the TypeScript package's `EmbervecError` for this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingFile { .. } => "model_not_found",
            Self::Bert(bert::Error::Unsupported { .. }) => "unsupported_model",
            Self::Bert(
                bert::Error::Json { .. }
                | bert::Error::InvalidConfig { .. }
                | bert::Error::Damaged { .. }
                | bert::Error::Tensor { .. },
            )
            | Self::InvalidFile { .. } => "integrity",
            Self::InvalidInput(_) | Self::Bert(bert::Error::InvalidInput(_)) => "invalid_input",
            Self::Tokenizer(_) | Self::Io { .. } | Self::Bert(bert::Error::Device(_)) => "internal",
        }
    }

    pub(crate) fn unsupported(file: &str, what: String, supported: &str) -> Self {
        Self::Bert(bert::Error::Unsupported {
            file: file.into(),
            what,
            supported: supported.into(),
        })
    }
}
