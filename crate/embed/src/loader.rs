//! From a folder's files to an [`Embedder`], with the weights coming in pieces.

use std::collections::BTreeMap;

use burn::tensor::Device;
use embervec_bert::{BertConfig, BertModel, KeyTable, TensorReader, WeightDtype};

use crate::embedder::{Embedder, EncoderFiles, Prompts, Stage};
use crate::folder::{
    Module, PACKED_WEIGHTS, SentenceBertConfig, SentenceTransformersConfig, SmallFiles,
    TokenizerConfig, WEIGHTS, join,
};
use crate::modules::{Dense, DenseConfig, Pooling};
use crate::tokenizer::Tokenizer;
use crate::{Error, FolderPlan, Result};

/// Takes the files of a folder and becomes an [`Embedder`].
///
/// ```text
/// Loader::new(plan, small files)
///   for each weight file, in any order: begin_weights, push_weights…, end_weights
/// finish
/// ```
#[derive(Debug)]
pub struct Loader {
    device: Device,
    dtype: WeightDtype,
    config: BertConfig,
    tokenizer: Tokenizer,
    prompts: Prompts,
    similarity: Option<String>,
    /// What follows the transformer.
    pooling: Pooling,
    stages: Vec<PendingStage>,
    encoder_files: EncoderFiles,
    model: Option<BertModel>,
    reader: Option<(String, TensorReader)>,
}

#[derive(Debug)]
enum PendingStage {
    Ready(Stage),
    Dense { weights: String, config_file: String, config: DenseConfig },
}

impl Loader {
    /// Reads everything but the weights: all that can be refused without them is refused here.
    ///
    /// `files` are those of [`FolderPlan::files`] that are not weights and exist.
    ///
    /// # Errors
    ///
    /// For missing, unreadable or contradicting files and for models that are not supported.
    pub fn new(
        plan: &FolderPlan,
        files: BTreeMap<String, Vec<u8>>,
        dtype: WeightDtype,
        device: &Device,
    ) -> Result<Self> {
        let files = SmallFiles(files);
        let Some(Module::Transformer { path }) = plan.modules.first() else {
            return Err(Error::InvalidInput("the plan has no transformer".into()));
        };

        let config_file = join(path, "config.json");
        let config = BertConfig::from_json(&config_file, files.require(&config_file)?)?;
        let sentence_bert: SentenceBertConfig =
            files.json_or_default(&join(path, "sentence_bert_config.json"))?;
        let tokenizer_config: TokenizerConfig =
            files.json_or_default(&join(path, "tokenizer_config.json"))?;
        let sentence_transformers: SentenceTransformersConfig =
            files.json_or_default("config_sentence_transformers.json")?;

        let tokenizer_file = join(path, "tokenizer.json");
        let mut tokenizer = Tokenizer::new(
            &tokenizer_file,
            files.require(&tokenizer_file)?,
            sentence_bert.do_lower_case,
        )?;
        if tokenizer.max_id() as usize >= config.vocab_size {
            return Err(Error::InvalidFile {
                file: tokenizer_file,
                problem: format!(
                    "has token id {}, but config.json says vocab_size {}; the two do not belong together",
                    tokenizer.max_id(),
                    config.vocab_size
                ),
            });
        }
        let (limit_file, limit) = max_seq_length(path, &sentence_bert, &tokenizer_config, &config);
        tokenizer.set_max_seq_length(&limit_file, limit)?;

        let (pooling, stages) = stages(plan, &files, config.hidden_size)?;
        Ok(Self {
            device: device.clone(),
            dtype,
            config,
            tokenizer,
            prompts: Prompts::new(
                sentence_transformers.prompts,
                sentence_transformers.default_prompt_name,
            )?,
            similarity: sentence_transformers.similarity_fn_name,
            pooling,
            stages,
            encoder_files: EncoderFiles {
                config_path: config_file,
                weights_path: join(path, WEIGHTS),
                packed_path: join(path, PACKED_WEIGHTS),
            },
            model: None,
            reader: None,
        })
    }

    /// Begins the weight file `path`. Of the transformer either file may come.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a file that is not wanted or while another is under way.
    pub fn begin_weights(&mut self, path: &str) -> Result<()> {
        if let Some((other, _)) = &self.reader {
            return Err(Error::InvalidInput(format!("{path} begins before {other} has ended")));
        }
        let (table, dtype) = if self.encoder_files.are_weights(path) {
            (KeyTable::bert(&self.config), self.dtype)
        } else {
            let dense = self.stages.iter().find_map(|stage| match stage {
                PendingStage::Dense { weights, config, .. } if weights == path => Some(config),
                _ => None,
            });
            let dense = dense.ok_or_else(|| {
                Error::InvalidInput(format!("{path} is not a weight file of this model"))
            })?;
            // A sentence has one vector: there is no time to win, and little room.
            (dense.key_table(), WeightDtype::Fp32)
        };
        self.reader = Some((path.into(), TensorReader::new(path, table, dtype)));
        Ok(())
    }

    /// The next bytes of the weight file.
    ///
    /// # Errors
    ///
    /// As soon as the file shows to be damaged or not this model's.
    pub fn push_weights(&mut self, bytes: &[u8]) -> Result<()> {
        let (_, reader) = self.reader.as_mut().ok_or_else(no_file)?;
        Ok(reader.push(bytes)?)
    }

    /// What is new of the file to keep in place of the weight file under way; see
    /// [`TensorReader::take_converted`].
    pub fn take_converted(&mut self) -> Vec<u8> {
        self.reader.as_mut().map(|(_, reader)| reader.take_converted()).unwrap_or_default()
    }

    /// Ends the weight file and builds its part of the model.
    ///
    /// # Errors
    ///
    /// When bytes are missing.
    pub fn end_weights(&mut self) -> Result<()> {
        let (path, reader) = self.reader.take().ok_or_else(no_file)?;
        let weights = reader.finish()?;
        if self.encoder_files.are_weights(&path) {
            self.model = Some(BertModel::load(self.config.clone(), weights, &self.device)?);
            return Ok(());
        }
        for stage in &mut self.stages {
            if let PendingStage::Dense { weights: file, config_file, config } = stage
                && *file == path
            {
                let dense = Dense::load(config, config_file, weights, &self.device)?;
                *stage = PendingStage::Ready(Stage::Dense(Box::new(dense)));
                return Ok(());
            }
        }
        Err(no_file())
    }

    /// The embedder, once every weight file has ended.
    ///
    /// # Errors
    ///
    /// [`Error::MissingFile`] names a weight file that did not come.
    pub fn finish(self) -> Result<Embedder> {
        let encoder_files = self.encoder_files;
        let no_model = || Error::MissingFile { file: encoder_files.weights_path.clone() };
        let model = self.model.ok_or_else(no_model)?;
        let stages = self
            .stages
            .into_iter()
            .map(|stage| match stage {
                PendingStage::Ready(stage) => Ok(stage),
                PendingStage::Dense { weights, .. } => Err(Error::MissingFile { file: weights }),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Embedder {
            model,
            tokenizer: self.tokenizer,
            prompts: self.prompts,
            similarity: self.similarity,
            pooling: self.pooling,
            stages,
            device: self.device,
            encoder_files,
        })
    }
}

fn no_file() -> Error {
    Error::InvalidInput("no weight file has begun".into())
}

/// The limit in tokens and the file that sets it. As in sentence-transformers: its own file, else
/// the tokenizer's, and never more than there are positions.
fn max_seq_length(
    path: &str,
    sentence_bert: &SentenceBertConfig,
    tokenizer: &TokenizerConfig,
    config: &BertConfig,
) -> (String, usize) {
    let positions = config.max_position_embeddings;
    if let Some(limit) = sentence_bert.max_seq_length {
        return (join(path, "sentence_bert_config.json"), limit.min(positions));
    }
    match tokenizer.model_max_length {
        Some(limit) if limit < positions as f64 => {
            (join(path, "tokenizer_config.json"), limit as usize)
        }
        _ => (join(path, "config.json"), positions),
    }
}

fn stages(
    plan: &FolderPlan,
    files: &SmallFiles,
    hidden_size: usize,
) -> Result<(Pooling, Vec<PendingStage>)> {
    let (pooling, modules) = match &plan.modules[1..] {
        [] => return Ok((Pooling::mean(), Vec::new())),
        [Module::Pooling { path }, modules @ ..] => {
            let file = join(path, "config.json");
            (Pooling::from_json(&file, files.require(&file)?, hidden_size)?, modules)
        }
        _ => {
            return Err(Error::unsupported(
                "modules.json",
                "a module before Pooling".into(),
                "Pooling right after Transformer",
            ));
        }
    };
    let mut stages = Vec::new();
    let mut size = hidden_size * pooling.modes.len();
    for module in modules {
        match module {
            Module::Dense { path } => {
                let file = join(path, "config.json");
                let config: DenseConfig = files.require_json(&file)?;
                config.activation(&file)?;
                if config.in_features != size {
                    return Err(Error::InvalidFile {
                        file,
                        problem: format!(
                            "in_features is {}, but the module before gives {size}",
                            config.in_features
                        ),
                    });
                }
                size = config.out_features;
                let weights = join(path, WEIGHTS);
                stages.push(PendingStage::Dense { weights, config_file: file, config });
            }
            Module::Normalize => stages.push(PendingStage::Ready(Stage::Normalize)),
            Module::Transformer { .. } | Module::Pooling { .. } => {
                return Err(Error::unsupported(
                    "modules.json",
                    "a second Transformer or Pooling".into(),
                    "one of each",
                ));
            }
        }
    }
    Ok((pooling, stages))
}
