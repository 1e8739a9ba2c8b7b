//! What a folder's small files say of how a text becomes a vector: as sentence-transformers 6.2 and transformers 5 read
//! them, or an error that says why not.
//!
//! | file | module |
//! |---|---|
//! | `modules.json` | [`modules`] |
//! | `sentence_bert_config.json`, `config.json`, the tokenizer's | [`transformer`] |
//! | the tokenizer.json of a StaticEmbedding | [`static_embedding`] |
//! | `config.json` of a Pooling | [`pooling`] |
//! | `config.json` of a Dense, LayerNorm, Normalize, Dropout | [`layers`] |
//! | all of the modules, one after the other | [`program`] |
//! | `config_sentence_transformers.json` | [`prompts`] |

pub(crate) mod layers;
pub(crate) mod modules;
pub(crate) mod pooling;
pub(crate) mod program;
pub(crate) mod prompts;
pub(crate) mod static_embedding;
pub(crate) mod transformer;

use embervec_encoder::{EncoderSpec, PoolingMode};
use embervec_tokenizer::Tokenizer;

use crate::Result;
use crate::folder::Folder;
use modules::{Layout, ModuleKind};
use program::Program;
use prompts::ModelSettings;
use transformer::{EncoderOutput, Limits, Transformer};

/// Everything but the weights.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub tokenizer: Tokenizer,
    pub limits: Limits,
    /// What takes the tokens.
    pub first: First,
    pub program: Program,
    pub settings: ModelSettings,
}

/// The first module, as far as it is known without weights.
#[allow(clippy::large_enum_variant, reason = "a folder has one of them")]
#[derive(Debug)]
pub(crate) enum First {
    Encoder { spec: EncoderSpec, output: EncoderOutput },
    Static,
}

impl Recipe {
    pub fn read(folder: &Folder) -> Result<Self> {
        match Layout::read(folder)? {
            Layout::Plain => {
                let transformer = Transformer::read_plain(folder)?;
                let mode =
                    if transformer.is_causal { PoolingMode::LastToken } else { PoolingMode::Mean };
                let program = Program::plain(transformer.spec.hidden_size, mode);
                Ok(Self::of_encoder(transformer, program, ModelSettings::plain()))
            }
            Layout::Modules(modules) => {
                let settings = ModelSettings::read(folder)?;
                let (first, others) = (&modules[0], &modules[1..]);
                if first.kind == ModuleKind::StaticEmbedding {
                    let (tokenizer, limits) = static_embedding::read(folder, &first.path)?;
                    let program = Program::read_static(folder, others)?;
                    return Ok(Self { tokenizer, limits, first: First::Static, program, settings });
                }
                let transformer = Transformer::read(folder, &first.path)?;
                let program = Program::read(folder, others, &transformer)?;
                Ok(Self::of_encoder(transformer, program, settings))
            }
        }
    }

    fn of_encoder(transformer: Transformer, program: Program, settings: ModelSettings) -> Self {
        let Transformer { spec, tokenizer, limits, output, .. } = transformer;
        Self { tokenizer, limits, first: First::Encoder { spec, output }, program, settings }
    }

    /// Whether the folder uses the encoder's own pooler.
    pub fn uses_pooler(&self) -> bool {
        matches!(self.first, First::Encoder { output: EncoderOutput::PoolerOutput, .. })
    }
}
