//! What can go wrong between stored bytes and an answer.

/// Every error names the part, the place or the argument that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call that cannot be answered.
    #[error("{0}")]
    InvalidInput(String),
    /// Stored bytes are not what they should be.
    #[error("{part}: {problem}")]
    Damaged {
        /// Which part of an index.
        part: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is there but the disk does not deliver it, or does not take it.
    #[cfg(feature = "folder")]
    #[error("{file}: {source}")]
    Io {
        /// The file's path.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What can fail here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The code of the TypeScript package's `EmbervecError` for this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidInput(_) => "invalid_input",
            Self::Damaged { .. } => "integrity",
            #[cfg(feature = "folder")]
            Self::Io { .. } => "internal",
        }
    }

    pub(crate) fn invalid(problem: impl Into<String>) -> Self {
        Self::InvalidInput(problem.into())
    }

    #[cfg(feature = "folder")]
    pub(crate) fn io(file: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { file: file.display().to_string(), source }
    }
}
