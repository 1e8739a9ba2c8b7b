//! Texts in, vectors out.

use std::collections::BTreeMap;

use burn::tensor::Device;
use embervec_bert::ops::to_vec;
use embervec_bert::{BertModel, PackedBatch};

use crate::modules::{Dense, Pooling, PoolingMode, normalize};
use crate::tokenizer::{Ids, Tokenizer};
use crate::{Error, Result, Tokens};

/// Texts are encoded together until they have this many tokens. Enough rows for a GEMM to be
/// efficient (it is from about 64 on), few enough that the widest intermediate of BERT-base,
/// 512 x 3072 floats, takes 6 MB, whatever the number of texts.
const TOKENS_PER_BATCH: usize = 512;

/// A model that is ready to encode.
#[derive(Debug)]
pub struct Embedder {
    model: BertModel,
    tokenizer: Tokenizer,
    prompts: Prompts,
    similarity: Option<String>,
    stages: Vec<Stage>,
    device: Device,
}

/// A module behind the transformer; the first is the pooling.
#[derive(Debug)]
pub(crate) enum Stage {
    Pooling(Pooling),
    Dense(Dense),
    Normalize,
}

/// What is put before every text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Prompt {
    /// The folder's default prompt, or nothing.
    #[default]
    Default,
    /// The folder's prompt for queries, else its default.
    Query,
    /// The folder's prompt for documents (`document`, else `passage`, else `corpus`), else its
    /// default.
    Document,
    /// The folder's prompt of this name.
    Name(String),
    /// This text.
    Text(String),
}

/// What a call gives for each text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Output {
    /// One vector.
    #[default]
    Sentence,
    /// A vector for each token, special tokens included, as the encoder gives them.
    Token,
}

/// How to encode. The default is what the model's folder says.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// What is put before every text.
    pub prompt: Prompt,
    /// Another pooling than the folder's; several are concatenated.
    pub pooling: Option<Vec<PoolingMode>>,
    /// `true`: scale to length 1, after everything else. `false`: leave the folder's own Normalize
    /// modules out.
    pub normalize: Option<bool>,
    /// Keep this many dimensions (before a `normalize: true`), for models trained for it.
    pub truncate_dim: Option<usize>,
    /// One vector for a text, or one for each of its tokens.
    pub output: Output,
}

/// The vectors of some texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// All vectors, one after the other: `[texts, dimension]`, or `[tokens of all texts, dimension]`.
    pub vectors: Vec<f32>,
    /// Length of one vector.
    pub dimension: usize,
    /// Number of tokens of each text, prompt and special tokens included.
    pub token_counts: Vec<u32>,
    /// For each text whether it was too long and has been cut.
    pub truncated: Vec<bool>,
}

impl Embedder {
    pub(crate) fn new(
        model: BertModel,
        tokenizer: Tokenizer,
        prompts: Prompts,
        similarity: Option<String>,
        stages: Vec<Stage>,
        device: Device,
    ) -> Self {
        Self { model, tokenizer, prompts, similarity, stages, device }
    }

    /// Length of a sentence vector, when no option changes it.
    pub fn dimension(&self) -> usize {
        let hidden_size = self.model.config().hidden_size;
        self.stages.iter().fold(hidden_size, |size, stage| match stage {
            Stage::Pooling(pooling) => size * pooling.modes.len(),
            Stage::Dense(dense) => dense.out_features,
            Stage::Normalize => size,
        })
    }

    /// A text with more tokens than this is cut.
    pub fn max_seq_length(&self) -> usize {
        self.tokenizer.max_seq_length()
    }

    /// The similarity that the model was trained for: `cosine`, `dot`, `euclidean` or `manhattan`.
    /// As in sentence-transformers it is cosine where the folder does not say.
    pub fn similarity(&self) -> &str {
        self.similarity.as_deref().unwrap_or("cosine")
    }

    /// The folder's prompts by name.
    pub fn prompts(&self) -> &BTreeMap<String, String> {
        &self.prompts.texts
    }

    /// The tokens of a text, without any prompt.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`].
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.tokens(text)
    }

    /// Encodes texts. However many there are, only [`TOKENS_PER_BATCH`] tokens are in the encoder
    /// at a time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for options that this model cannot fulfil.
    pub fn encode<T: AsRef<str>>(&self, texts: &[T], options: &EncodeOptions) -> Result<Encoded> {
        let plan = EncodePlan::new(self, options)?;
        let mut encoded = Encoded { dimension: plan.dimension, ..Encoded::default() };
        let mut batch = PackedBatch::new();
        for text in texts {
            let Ids { input_ids, token_type_ids, truncated } = self.ids(text.as_ref(), &plan)?;
            if !batch.is_empty() && batch.token_count() + input_ids.len() > TOKENS_PER_BATCH {
                self.encode_batch(&std::mem::take(&mut batch), &plan, &mut encoded)?;
            }
            encoded.token_counts.push(input_ids.len() as u32);
            encoded.truncated.push(truncated);
            batch.push(&input_ids, &token_type_ids)?;
        }
        if !batch.is_empty() {
            self.encode_batch(&batch, &plan, &mut encoded)?;
        }
        Ok(encoded)
    }

    fn ids(&self, text: &str, plan: &EncodePlan) -> Result<Ids> {
        let ids = match plan.prompt {
            "" => self.tokenizer.ids(text)?,
            prompt => self.tokenizer.ids(&format!("{prompt}{text}"))?,
        };
        if ids.input_ids.len() <= plan.skip {
            return Err(Error::InvalidInput(format!(
                "the prompt alone has {} tokens and leaves nothing of the model's {} for the text",
                plan.skip,
                self.max_seq_length()
            )));
        }
        Ok(ids)
    }

    fn encode_batch(
        &self,
        batch: &PackedBatch,
        plan: &EncodePlan,
        encoded: &mut Encoded,
    ) -> Result<()> {
        let token_vectors = to_vec(self.model.forward(batch)?)?;
        if plan.output == Output::Token {
            encoded.vectors.extend(token_vectors);
            return Ok(());
        }
        let hidden_size = self.model.config().hidden_size;
        let mut size = hidden_size * plan.pooling.len();
        let mut vectors = Vec::with_capacity(batch.len() * size);
        for text in batch.ranges() {
            let tokens = &token_vectors[text.start * hidden_size..text.end * hidden_size];
            for mode in plan.pooling {
                mode.pool(tokens, hidden_size, plan.skip, &mut vectors);
            }
        }
        for stage in &self.stages {
            match stage {
                Stage::Pooling(_) => {}
                Stage::Dense(dense) => {
                    vectors = dense.forward(vectors, &self.device)?;
                    size = dense.out_features;
                }
                Stage::Normalize if plan.normalize == Some(false) => {}
                Stage::Normalize => normalize(&mut vectors, size),
            }
        }
        if plan.dimension < size {
            vectors = vectors
                .chunks_exact(size)
                .flat_map(|vector| &vector[..plan.dimension])
                .copied()
                .collect();
        }
        if plan.normalize == Some(true) {
            normalize(&mut vectors, plan.dimension);
        }
        encoded.vectors.extend(vectors);
        Ok(())
    }
}

/// Options and folder together, checked once per call.
struct EncodePlan<'a> {
    prompt: &'a str,
    /// Number of a prompt's tokens that the pooling leaves out.
    skip: usize,
    pooling: &'a [PoolingMode],
    normalize: Option<bool>,
    dimension: usize,
    output: Output,
}

impl<'a> EncodePlan<'a> {
    fn new(embedder: &'a Embedder, options: &'a EncodeOptions) -> Result<Self> {
        let folder_pooling = embedder.stages.iter().find_map(|stage| match stage {
            Stage::Pooling(pooling) => Some(pooling),
            _ => None,
        });
        let folder_modes = folder_pooling.map_or(&[][..], |pooling| &pooling.modes);
        let pooling = options.pooling.as_deref().unwrap_or(folder_modes);
        let hidden_size = embedder.model.config().hidden_size;
        let first_dense = embedder.stages.iter().find_map(|stage| match stage {
            Stage::Dense(dense) => Some(dense),
            _ => None,
        });
        let pooled_size = hidden_size * pooling.len();
        if pooling.is_empty() {
            return Err(Error::InvalidInput("pooling is an empty list; name at least one".into()));
        }
        if let Some(dense) = first_dense
            && dense.in_features != pooled_size
        {
            return Err(Error::InvalidInput(format!(
                "pooling gives vectors of {pooled_size}, but this model's Dense module takes {}",
                dense.in_features
            )));
        }

        let full_dimension = match (options.output, &options.pooling, first_dense) {
            (Output::Token, ..) => hidden_size,
            (Output::Sentence, Some(_), None) => pooled_size,
            (Output::Sentence, ..) => embedder.dimension(),
        };
        if options.output == Output::Token
            && (options.pooling.is_some()
                || options.normalize.is_some()
                || options.truncate_dim.is_some())
        {
            return Err(Error::InvalidInput(
                "pooling, normalize and truncateDim are for sentence vectors; leave them out with output \"token\"".into(),
            ));
        }
        let dimension = options.truncate_dim.unwrap_or(full_dimension);
        if dimension == 0 || dimension > full_dimension {
            return Err(Error::InvalidInput(format!(
                "truncateDim is {dimension}, but must lie in 1..={full_dimension}, the vector's length"
            )));
        }

        let prompt = embedder.prompts.resolve(&options.prompt)?;
        let excludes_prompt = folder_pooling.is_some_and(|pooling| !pooling.include_prompt);
        let skip = match excludes_prompt && !prompt.is_empty() && options.output == Output::Sentence
        {
            true => embedder.tokenizer.prompt_length(prompt)?,
            false => 0,
        };
        Ok(Self {
            prompt,
            skip,
            pooling,
            normalize: options.normalize,
            dimension,
            output: options.output,
        })
    }
}

/// The prompts of `config_sentence_transformers.json`.
#[derive(Debug)]
pub(crate) struct Prompts {
    texts: BTreeMap<String, String>,
    default: Option<String>,
}

impl Prompts {
    pub fn new(prompts: BTreeMap<String, Option<String>>, default: Option<String>) -> Result<Self> {
        let texts: BTreeMap<_, _> =
            prompts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        if let Some(name) = &default
            && !texts.contains_key(name)
        {
            return Err(Error::InvalidFile {
                file: "config_sentence_transformers.json".into(),
                problem: format!("default_prompt_name \"{name}\" is not among its prompts"),
            });
        }
        Ok(Self { texts, default })
    }

    fn resolve<'a>(&'a self, prompt: &'a Prompt) -> Result<&'a str> {
        let named = |name: &str| self.texts.get(name).map(String::as_str);
        let default = || self.default.as_deref().and_then(named).unwrap_or("");
        match prompt {
            Prompt::Text(text) => Ok(text),
            Prompt::Default => Ok(default()),
            Prompt::Query => Ok(named("query").unwrap_or_else(default)),
            Prompt::Document => {
                let names = ["document", "passage", "corpus"];
                Ok(names.into_iter().find_map(named).unwrap_or_else(default))
            }
            Prompt::Name(name) => self.texts.get(name).map(String::as_str).ok_or_else(|| {
                let names: Vec<_> = self.texts.keys().map(String::as_str).collect();
                let there_are =
                    if names.is_empty() { "no prompts".into() } else { names.join(", ") };
                Error::InvalidInput(format!(
                    "promptName \"{name}\" does not exist; this model has {there_are}"
                ))
            }),
        }
    }
}
