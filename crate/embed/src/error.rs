//! What can go wrong between a folder's files and a text's vector.

use embervec_encoder as encoder;
use embervec_tokenizer as tokenizer;
use embervec_weights as weights;

/// Every error names the file, the tensor, the text or the option that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The encoder refused a file or a batch.
    #[error(transparent)]
    Encoder(#[from] encoder::Error),
    /// A required file is missing from the folder.
    #[error("{file} is missing from the model folder{hint}")]
    MissingFile {
        /// The file's path within the folder.
        file: String,
        /// What to do: empty, or a clause that begins with a punctuation mark.
        hint: String,
    },
    /// A file is damaged.
    #[error("{file}: {problem}")]
    Damaged {
        /// The file's path within the folder.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file can be read, but does not describe a valid model: sentence-transformers refuses it as well.
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
    /// A file exists, but cannot be read.
    #[error("{file} cannot be read: {source}")]
    Io {
        /// The file's path.
        file: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A call has invalid arguments.
    #[error("{0}")]
    InvalidInput(String),
    /// A text has no vector with this model.
    #[error("the text {text} {problem}")]
    Text {
        /// Its beginning, in quotes.
        text: String,
        /// What is wrong with it: the rest of a sentence.
        problem: String,
    },
}

impl Error {
    /// The code of the TypeScript package's `EmbervecError` for this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingFile { .. } => "model_not_found",
            Self::InvalidFile { .. } | Self::Unsupported { .. } | Self::Text { .. } => {
                "unsupported_model"
            }
            Self::Damaged { .. } => "integrity",
            Self::InvalidInput(_) => "invalid_input",
            Self::Io { .. } => "internal",
            Self::Encoder(error) => match error {
                encoder::Error::Unsupported { .. }
                | encoder::Error::InvalidConfig { .. }
                | encoder::Error::Weights(weights::Error::Unsupported { .. }) => {
                    "unsupported_model"
                }
                encoder::Error::Weights(_) => "integrity",
                encoder::Error::InvalidInput(_) => "invalid_input",
                encoder::Error::Device(_) => "internal",
            },
        }
    }

    pub(crate) fn unsupported(file: &str, what: impl Into<String>, supported: &str) -> Self {
        Self::Unsupported { file: file.into(), what: what.into(), supported: supported.into() }
    }

    pub(crate) fn invalid(file: &str, problem: impl Into<String>) -> Self {
        Self::InvalidFile { file: file.into(), problem: problem.into() }
    }

    pub(crate) fn missing(file: impl Into<String>) -> Self {
        Self::MissingFile { file: file.into(), hint: String::new() }
    }
}

impl From<weights::Error> for Error {
    fn from(error: weights::Error) -> Self {
        Self::Encoder(error.into())
    }
}

impl From<tokenizer::Error> for Error {
    fn from(error: tokenizer::Error) -> Self {
        match error {
            tokenizer::Error::MissingFile { file } => Self::missing(file),
            tokenizer::Error::Damaged { file, problem } => Self::Damaged { file, problem },
            tokenizer::Error::InvalidFile { file, problem } => Self::InvalidFile { file, problem },
            tokenizer::Error::Unsupported { file, what, supported } => {
                Self::Unsupported { file, what, supported }
            }
            tokenizer::Error::Text(problem) => Self::InvalidInput(problem),
        }
    }
}

/// How much of a text a message quotes.
const SHOWN_CHARS: usize = 40;

/// The beginning of a text for a message, in quotes.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
