//! The families of encoders: each a file that says what its `config.json` and the names of its tensors mean, in the order of
//! Hugging Face's classes.

mod albert;
mod bert;
mod distilbert;
mod electra;
mod gte;
pub(crate) mod jina_bert;
mod modernbert;
pub(crate) mod mpnet;
mod new;
mod nomic_bert;
mod roberta;

use crate::config::Fields;
use crate::names::Names;
use crate::{EncoderSpec, Result};

/// Where an encoder's configuration and names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `bert`
    Bert,
    /// `roberta`
    Roberta,
    /// `xlm-roberta`
    XlmRoberta,
    /// `camembert`
    Camembert,
    /// `distilbert`
    DistilBert,
    /// `electra`
    Electra,
    /// `albert`
    Albert,
    /// `mpnet`
    MpNet,
    /// `nomic_bert`
    NomicBert,
    /// `gte`
    Gte,
    /// `modernbert`
    ModernBert,
    /// `new`
    New,
    /// `bert` with `position_embedding_type` `alibi`
    JinaBert,
    /// The same with normalised queries and keys
    JinaCode,
}

impl Family {
    /// All, each at the place of its number.
    pub(crate) const ALL: [Self; 14] = [
        Self::Bert,
        Self::Roberta,
        Self::XlmRoberta,
        Self::Camembert,
        Self::DistilBert,
        Self::Electra,
        Self::Albert,
        Self::MpNet,
        Self::NomicBert,
        Self::Gte,
        Self::ModernBert,
        Self::New,
        Self::JinaBert,
        Self::JinaCode,
    ];

    /// The family of this `model_type`.
    pub(crate) fn of_model_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == name)
    }

    /// Every `model_type`, for messages.
    pub(crate) fn model_types() -> String {
        // The last ones' name is the first one's, too.
        let [others @ .., Self::JinaBert, Self::JinaCode] = Self::ALL else {
            unreachable!("the last of them")
        };
        others.map(Self::model_type).join(", ")
    }

    /// The `model_type` in config.json.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Bert | Self::JinaBert | Self::JinaCode => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::Camembert => "camembert",
            Self::DistilBert => "distilbert",
            Self::Electra => "electra",
            Self::Albert => "albert",
            Self::MpNet => "mpnet",
            Self::NomicBert => "nomic_bert",
            Self::Gte => "gte",
            Self::ModernBert => "modernbert",
            Self::New => "new",
        }
    }

    /// The class of the tokenizer of a folder that names none:
    /// [`TOKENIZER_MAPPING_NAMES`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/auto/tokenization_auto.py#L63).
    pub fn tokenizer_class(self) -> &'static str {
        match self {
            Self::Bert
            | Self::DistilBert
            | Self::Electra
            | Self::NomicBert
            | Self::JinaBert
            | Self::JinaCode => "BertTokenizer",
            Self::Roberta => "RobertaTokenizer",
            Self::XlmRoberta | Self::Gte => "XLMRobertaTokenizer",
            Self::Camembert => "CamembertTokenizer",
            Self::Albert => "AlbertTokenizer",
            Self::MpNet => "MPNetTokenizer",
            Self::ModernBert => "PreTrainedTokenizerFast",
            // What reads a tokenizer.json where nothing is known of a family.
            Self::New => "TokenizersBackend",
        }
    }

    /// Whether its own reader looks at `position_embedding_type`, or Python does not for this family: its positions are rotary.
    pub(crate) fn has_other_positions(self) -> bool {
        matches!(
            self,
            Self::JinaBert
                | Self::JinaCode
                | Self::New
                | Self::ModernBert
                | Self::Gte
                | Self::NomicBert
        )
    }

    /// Reads a config.json of this family.
    pub(crate) fn read(self, fields: &Fields) -> Result<EncoderSpec> {
        match self {
            Self::Bert => bert::read(fields),
            Self::Roberta | Self::XlmRoberta | Self::Camembert => roberta::read(fields, self),
            Self::DistilBert => distilbert::read(fields),
            Self::Electra => electra::read(fields),
            Self::Albert => albert::read(fields),
            Self::MpNet => mpnet::read(fields),
            Self::NomicBert => nomic_bert::read(fields),
            Self::Gte => gte::read(fields),
            Self::ModernBert => modernbert::read(fields),
            Self::New => new::read(fields),
            Self::JinaBert | Self::JinaCode => jina_bert::read(fields, self),
        }
    }

    pub(crate) fn names(self) -> &'static Names {
        match self {
            Self::Bert => &bert::NAMES,
            Self::Roberta | Self::XlmRoberta | Self::Camembert => &roberta::NAMES,
            Self::DistilBert => &distilbert::NAMES,
            Self::Electra => &electra::NAMES,
            Self::Albert => &albert::NAMES,
            Self::MpNet => &mpnet::NAMES,
            Self::NomicBert => &nomic_bert::NAMES,
            Self::Gte => &gte::NAMES,
            Self::ModernBert => &modernbert::NAMES,
            Self::New => &new::NAMES,
            Self::JinaBert => &jina_bert::NAMES,
            Self::JinaCode => &jina_bert::CODE_NAMES,
        }
    }
}
