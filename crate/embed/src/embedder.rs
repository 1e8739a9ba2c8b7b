//! Texts in, vectors out.

use std::collections::{BTreeMap, VecDeque};

use burn::tensor::Device;
use embervec_bert::ops::to_vec;
use embervec_bert::{
    BERT_BASE_WEIGHTS, BertModel, GPU_TOKENS_PER_BATCH, GpuNeeds, PackedBatch, PoolingMode,
    SentencePooling, WeightDtype, normalize,
};

use crate::modules::{Dense, Pooling};
use crate::tokenizer::{Ids, Tokenizer};
use crate::{Error, Result, Tokens};

/// On the CPU texts are encoded together until they have this many tokens. Enough rows for a GEMM to
/// be efficient (it is from about 64 on), few enough that the widest intermediate of BERT-base,
/// 256 x 3072 floats, takes 3 MB, whatever the number of texts. With 512 tokens MiniLM takes 0 to 3 %
/// longer and 4 MB more.
const TOKENS_PER_BATCH: usize = 256;

/// A model that is ready to encode.
#[derive(Debug)]
pub struct Embedder {
    pub(crate) model: BertModel,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) prompts: Prompts,
    pub(crate) similarity: Option<String>,
    pub(crate) pooling: Pooling,
    pub(crate) stages: Vec<Stage>,
    pub(crate) device: Device,
    pub(crate) encoder_files: EncoderFiles,
}

/// The folder's files that make up the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderFiles {
    /// Its configuration.
    pub config_path: String,
    /// Its weights.
    pub weights_path: String,
    /// Where a folder may have them in 8 bits.
    pub packed_path: String,
}

impl EncoderFiles {
    pub(crate) fn are_weights(&self, path: &str) -> bool {
        path == self.weights_path || path == self.packed_path
    }
}

/// A module behind the pooling.
#[derive(Debug)]
pub(crate) enum Stage {
    Dense(Box<Dense>),
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
    /// Length of a sentence vector, when no option changes it.
    pub fn dimension(&self) -> usize {
        let pooled_size = self.model.config().hidden_size * self.pooling.modes.len();
        self.stages.iter().fold(pooled_size, |size, stage| match stage {
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
        let mut job = self.job(options, TOKENS_PER_BATCH)?;
        for text in texts {
            self.push(&mut job, text.as_ref())?;
            while job.batches.len() > 1 {
                self.compute(&mut job)?;
            }
        }
        while !job.batches.is_empty() {
            self.compute(&mut job)?;
        }
        Ok(job.encoded)
    }

    /// Tokenizes texts for an encoder on a GPU: give [`Embedder::accept`] its results for
    /// [`Job::batch`], or let [`Embedder::compute`] do the work here, until there is none left.
    ///
    /// # Errors
    ///
    /// As [`Embedder::encode`].
    pub fn begin<T: AsRef<str>>(&self, texts: &[T], options: &EncodeOptions) -> Result<Job> {
        let mut job = self.job(options, GPU_TOKENS_PER_BATCH)?;
        texts.iter().try_for_each(|text| self.push(&mut job, text.as_ref()))?;
        Ok(job)
    }

    /// Encodes the next batch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] where there is none.
    pub fn compute(&self, job: &mut Job) -> Result<()> {
        let vectors = self.encode_batch(job.batch()?, &job.plan)?;
        self.accept(job, vectors)
    }

    /// Takes what an encoder has made of the next batch: its texts' vectors after pooling, or with
    /// [`Output::Token`] the `last_hidden_state` of its tokens.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for another number of values.
    pub fn accept(&self, job: &mut Job, vectors: Vec<f32>) -> Result<()> {
        let expected = job.plan.encoder_size(job.batch()?, self.model.config().hidden_size);
        if vectors.len() != expected {
            return Err(Error::InvalidInput(format!(
                "the encoder gave {} values for a batch that has {expected}",
                vectors.len()
            )));
        }
        job.batches.pop_front();
        let finished = self.finish(vectors, &job.plan)?;
        job.encoded.vectors.extend(finished);
        Ok(())
    }

    fn job(&self, options: &EncodeOptions, tokens_per_batch: usize) -> Result<Job> {
        let plan = EncodePlan::new(self, options)?;
        let encoded = Encoded { dimension: plan.dimension, ..Encoded::default() };
        Ok(Job { plan, tokens_per_batch, batches: VecDeque::new(), encoded })
    }

    fn push(&self, job: &mut Job, text: &str) -> Result<()> {
        let Ids { input_ids, token_type_ids, truncated } = self.ids(text, &job.plan)?;
        job.encoded.token_counts.push(input_ids.len() as u32);
        job.encoded.truncated.push(truncated);
        let limit = job.tokens_per_batch;
        let has_room = |batch: &PackedBatch| batch.token_count() + input_ids.len() <= limit;
        if !job.batches.back().is_some_and(has_room) {
            job.batches.push_back(PackedBatch::new());
        }
        if let Some(batch) = job.batches.back_mut() {
            batch.push(&input_ids, &token_type_ids)?;
        }
        Ok(())
    }

    fn ids(&self, text: &str, plan: &EncodePlan) -> Result<Ids> {
        let ids = match &*plan.prompt {
            "" => self.tokenizer.ids(text)?,
            prompt => self.tokenizer.ids(&format!("{prompt}{text}"))?,
        };
        if ids.input_ids.len() <= plan.pooling.skip {
            return Err(Error::InvalidInput(format!(
                "the prompt alone has {} tokens and leaves nothing of the model's {} for the text",
                plan.pooling.skip,
                self.max_seq_length()
            )));
        }
        Ok(ids)
    }

    fn encode_batch(&self, batch: &PackedBatch, plan: &EncodePlan) -> Result<Vec<f32>> {
        let vectors = match plan.output {
            Output::Token => self.model.forward(batch)?,
            Output::Sentence => self.model.forward_pooled(batch, &plan.pooling)?,
        };
        Ok(to_vec(vectors)?)
    }

    /// The modules behind the pooling, and the options that change a vector.
    fn finish(&self, mut vectors: Vec<f32>, plan: &EncodePlan) -> Result<Vec<f32>> {
        if plan.output == Output::Token {
            return Ok(vectors);
        }
        let mut size = self.model.config().hidden_size * plan.pooling.modes.len();
        for stage in &self.stages[usize::from(plan.pooling.normalize)..] {
            match stage {
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
        Ok(vectors)
    }

    /// The folder's files that make up the encoder.
    pub fn encoder_files(&self) -> &EncoderFiles {
        &self.encoder_files
    }

    /// Whether the encoder is of the size of BERT-base or larger, for which one text is much work.
    pub fn is_large(&self) -> bool {
        self.model.config().linear_weights() >= BERT_BASE_WEIGHTS
    }

    /// What a GPU must have to encode for this model.
    pub fn gpu_needs(&self, dtype: WeightDtype) -> GpuNeeds {
        GpuNeeds::new(self.model.config(), dtype)
    }
}

/// Texts on their way through an encoder, batch by batch.
#[derive(Debug)]
pub struct Job {
    plan: EncodePlan,
    tokens_per_batch: usize,
    batches: VecDeque<PackedBatch>,
    encoded: Encoded,
}

impl Job {
    /// The next batch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] where there is none.
    pub fn batch(&self) -> Result<&PackedBatch> {
        let none = || Error::InvalidInput("all batches of this job are done".into());
        self.batches.front().ok_or_else(none)
    }

    /// Whether no batch is left.
    pub fn is_done(&self) -> bool {
        self.batches.is_empty()
    }

    /// How the encoder has to pool; `None` for token vectors.
    pub fn pooling(&self) -> Option<&SentencePooling> {
        match self.plan.output {
            Output::Sentence => Some(&self.plan.pooling),
            Output::Token => None,
        }
    }

    /// The vectors of the batches that are done.
    pub fn into_encoded(self) -> Encoded {
        self.encoded
    }
}

/// Options and folder together, checked once per call.
#[derive(Debug)]
struct EncodePlan {
    prompt: String,
    /// What the encoder does; it also does the first of the stages where that is Normalize.
    pooling: SentencePooling,
    normalize: Option<bool>,
    dimension: usize,
    output: Output,
}

impl EncodePlan {
    fn new(embedder: &Embedder, options: &EncodeOptions) -> Result<Self> {
        let modes = options.pooling.as_ref().unwrap_or(&embedder.pooling.modes);
        let hidden_size = embedder.model.config().hidden_size;
        let first_dense = embedder.stages.iter().find_map(|stage| match stage {
            Stage::Dense(dense) => Some(dense),
            Stage::Normalize => None,
        });
        let pooled_size = hidden_size * modes.len();
        if modes.is_empty() {
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
        let excludes_prompt = !embedder.pooling.include_prompt;
        let skip = match excludes_prompt && !prompt.is_empty() && options.output == Output::Sentence
        {
            true => embedder.tokenizer.prompt_length(prompt)?,
            false => 0,
        };
        let normalize = matches!(embedder.stages.first(), Some(Stage::Normalize))
            && options.normalize != Some(false);
        Ok(Self {
            prompt: prompt.into(),
            pooling: SentencePooling { modes: modes.clone(), skip, normalize },
            normalize: options.normalize,
            dimension,
            output: options.output,
        })
    }

    /// Number of values that the encoder gives for a batch.
    fn encoder_size(&self, batch: &PackedBatch, hidden_size: usize) -> usize {
        match self.output {
            Output::Token => batch.token_count() * hidden_size,
            Output::Sentence => batch.len() * hidden_size * self.pooling.modes.len(),
        }
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
