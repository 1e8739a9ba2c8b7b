//! The families of encoders: each a file that says what its `config.json` and the names of its tensors mean, in the order of
//! Hugging Face's classes.

mod bert;

use crate::config::Fields;
use crate::names::Names;
use crate::{EncoderSpec, Result};

/// Where an encoder's configuration and names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `bert`
    Bert,
}

impl Family {
    /// All, each at the place of its number.
    pub(crate) const ALL: [Self; 1] = [Self::Bert];

    /// The family of this `model_type`.
    pub(crate) fn of_model_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == name)
    }

    /// Every `model_type`, for messages.
    pub(crate) fn model_types() -> String {
        Self::ALL.map(Self::model_type).join(", ")
    }

    /// The `model_type` in config.json.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Bert => "bert",
        }
    }

    /// Reads a config.json of this family.
    pub(crate) fn read(self, fields: &Fields) -> Result<EncoderSpec> {
        match self {
            Self::Bert => bert::read(fields),
        }
    }

    pub(crate) fn names(self) -> &'static Names {
        match self {
            Self::Bert => &bert::NAMES,
        }
    }
}
