//! What a folder's small files say of how a text becomes a vector: as sentence-transformers 6.2 and transformers 5 read
//! them, or an error that says why not.
//!
//! | file | module |
//! |---|---|
//! | `modules.json` | [`modules`] |
//! | `sentence_bert_config.json`, `config.json`, the tokenizer's | [`transformer`] |
//! | `config.json` of a Pooling | [`pooling`] |
//! | `config.json` of a Dense, LayerNorm, Normalize, Dropout | [`layers`] |
//! | all of the modules, one after the other | [`program`] |
//! | `config_sentence_transformers.json` | [`prompts`] |

pub(crate) mod layers;
pub(crate) mod modules;
pub(crate) mod pooling;
pub(crate) mod program;
pub(crate) mod prompts;
pub(crate) mod transformer;

use embervec_encoder::PoolingMode;

use crate::Result;
use crate::folder::Folder;
use modules::Layout;
use program::Program;
use prompts::ModelSettings;
use transformer::Transformer;

/// Everything but the weights.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub transformer: Transformer,
    pub program: Program,
    pub settings: ModelSettings,
}

impl Recipe {
    pub fn read(folder: &Folder) -> Result<Self> {
        match Layout::read(folder)? {
            Layout::Plain => {
                let transformer = Transformer::read_plain(folder)?;
                let mode =
                    if transformer.is_causal { PoolingMode::LastToken } else { PoolingMode::Mean };
                let program = Program::plain(transformer.spec.hidden_size, mode);
                Ok(Self { transformer, program, settings: ModelSettings::plain() })
            }
            Layout::Modules(modules) => {
                let settings = ModelSettings::read(folder)?;
                let transformer = Transformer::read(folder, &modules[0].path)?;
                let program = Program::read(folder, &modules[1..], &transformer)?;
                Ok(Self { transformer, program, settings })
            }
        }
    }
}
