//! Texts in, vectors out.

use std::collections::{BTreeMap, VecDeque};

use burn::tensor::Device;
use embervec_encoder::ops::{to_vec, upload};
use embervec_encoder::{Encoder, GpuNeeds, PackedBatch, PoolingMode, SentencePooling, normalize};
use embervec_tokenizer::{Ids, Limit, Tokenizer, Tokens};
use embervec_weights::WeightDtype;

use crate::error::excerpt;
use crate::folder::FolderFile;
use crate::layer::Layer;
use crate::model::Model;
use crate::plan::{EncodePlan, PlannedOp};
use crate::recipe::Recipe;
use crate::recipe::program::{Op, Program};
use crate::recipe::prompts::ModelSettings;
use crate::recipe::transformer::Limits;
use crate::{Error, Result};

/// On the CPU texts are encoded together until they have this many tokens. Enough rows for a GEMM to
/// be efficient (it is from about 64 on), few enough that the widest intermediate of BERT-base,
/// 256 x 3072 floats, takes 3 MB, whatever the number of texts. With 512 tokens MiniLM takes 0 to 3 %
/// longer and 4 MB more.
pub const CPU_TOKENS_PER_BATCH: usize = 256;

/// The tokens of a text are counted in parts of about so many bytes.
const COUNTED_BYTES: usize = 1 << 14;

/// Where there is no place to cut a text, so many bytes are tokenized together to count them. That takes some forty times as
/// much memory.
const MAX_UNCUT_BYTES: usize = 1 << 20;

/// A model that is ready to encode.
#[derive(Debug)]
pub struct Embedder {
    pub(crate) model: Model,
    tokenizer: Tokenizer,
    pub(crate) limits: Limits,
    pub(crate) settings: ModelSettings,
    pub(crate) program: Program,
    /// In the order of the program's.
    pub(crate) layers: Vec<Layer>,
    device: Device,
    encoder_files: EncoderFiles,
}

/// The encoder's configuration and weight files, to load it on another device.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderFiles {
    /// As [`embervec_encoder::EncoderSpec::to_line`] writes it; empty for a model that has no encoder.
    pub config: String,
    /// The folder's files with its weights.
    pub weights: Vec<FolderFile>,
}

/// What texts are for. A model may have its own prompt and length limit for each task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// Search queries.
    Query,
    /// Documents to be found.
    Document,
}

/// What a call returns for each text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Output {
    /// One vector.
    #[default]
    Sentence,
    /// The encoder's vector for each token, special tokens included.
    Token,
}

/// How to encode. The defaults come from the model's folder.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// What the texts are for.
    pub task: Option<Task>,
    /// Text that is prepended to every text.
    pub prompt: Option<String>,
    /// The name of one of the folder's prompts, if `prompt` is not given.
    pub prompt_name: Option<String>,
    /// Replaces the folder's pooling; the results of several are concatenated.
    pub pooling: Option<Vec<PoolingMode>>,
    /// `true`: scale to length 1, after everything else. `false`: skip the folder's own Normalize
    /// modules.
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
    /// Whether each text was too long and was truncated.
    pub truncated: Vec<bool>,
}

impl Embedder {
    pub(crate) fn new(
        model: Model,
        recipe: Recipe,
        layers: Vec<Layer>,
        device: Device,
        encoder_files: EncoderFiles,
    ) -> Self {
        let Recipe { tokenizer, limits, program, settings, .. } = recipe;
        Self { model, tokenizer, limits, settings, program, layers, device, encoder_files }
    }

    /// Length of a sentence vector, unless an option changes it.
    pub fn dimension(&self) -> usize {
        self.truncated(self.program.values[self.program.sentence].width)
    }

    /// What the folder keeps of so many dimensions.
    pub(crate) fn truncated(&self, dimension: usize) -> usize {
        match self.settings.truncate_dim {
            None => dimension,
            Some(kept) if kept >= 0 => {
                usize::try_from(kept).map_or(dimension, |kept| kept.min(dimension))
            }
            Some(lost) => {
                let lost = usize::try_from(lost.unsigned_abs()).unwrap_or(usize::MAX);
                dimension.saturating_sub(lost)
            }
        }
    }

    /// Texts with more tokens than this are truncated; `None`: no limit.
    pub fn max_seq_length(&self) -> Option<usize> {
        match self.limits.of(None) {
            Limit::Tokens(tokens) => Some(*tokens),
            Limit::None | Limit::Invalid(_) => None,
        }
    }

    /// The similarity that the model was trained for: `cosine`, `dot`, `euclidean` or `manhattan`.
    /// If the folder does not name one, it is cosine, as in sentence-transformers.
    pub fn similarity(&self) -> &str {
        self.settings.similarity
    }

    /// The folder's prompts by name. Those for queries and documents are always present.
    pub fn prompts(&self) -> BTreeMap<&str, &str> {
        self.settings.prompts.texts().collect()
    }

    /// The tokens of a text, without any prompt.
    ///
    /// # Errors
    ///
    /// [`Error::Text`] for a text that the tokenizer cannot encode.
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.tokens(text, self.limits.of(None)).map_err(|error| text_error(text, error))
    }

    /// Number of special tokens that are put around a text: what is left of [`Embedder::max_seq_length`] is for the text and
    /// its prompt.
    pub fn special_tokens(&self) -> usize {
        self.tokenizer.special_token_count()
    }

    /// Number of tokens of a text, without special tokens and however many there are. Memory does not grow with its length.
    ///
    /// # Errors
    ///
    /// As [`Embedder::count_tokens`].
    pub fn token_count(&self, text: &str) -> Result<usize> {
        let (mut count, mut rest, mut len) = (0, text, COUNTED_BYTES);
        loop {
            let part = &rest[..rest.floor_char_boundary(len)];
            let (tokens, end) = self.count_tokens(part, part.len() == rest.len())?;
            count += tokens;
            rest = &rest[end..];
            len = if end == 0 { 2 * len } else { COUNTED_BYTES };
            if rest.is_empty() {
                return Ok(count);
            }
        }
    }

    /// Number of tokens of a part of a text, and how many of its bytes they are of; see
    /// [`embervec_tokenizer::Tokenizer::count`].
    ///
    /// # Errors
    ///
    /// [`Error::Text`] for a text that the tokenizer cannot take, [`Error::InvalidInput`] for a large part that cannot be cut.
    pub fn count_tokens(&self, part: &str, is_end: bool) -> Result<(usize, usize)> {
        let count = self.tokenizer.count(part, is_end).map_err(|error| text_error(part, error))?;
        if count.1 == 0 && part.len() >= MAX_UNCUT_BYTES {
            return Err(Error::InvalidInput(format!(
                "cannot count the tokens of {}: its first {MAX_UNCUT_BYTES} bytes contain no place to cut it; \
                 split it into paragraphs first",
                excerpt(part)
            )));
        }
        Ok(count)
    }

    /// How the token vectors are pooled. Empty if a text's vector does not come from pooling.
    pub fn pooling(&self) -> Vec<PoolingMode> {
        let pooling = self.sentence_ops().find_map(|op| match op {
            Op::Pool(pooling) => Some(pooling.modes.clone()),
            _ => None,
        });
        pooling.unwrap_or_default()
    }

    /// Whether the folder's own last step scales vectors to length 1.
    pub fn normalizes(&self) -> bool {
        self.sentence_ops().last() == Some(&Op::Normalize)
    }

    fn sentence_ops(&self) -> impl Iterator<Item = &Op> {
        let program = &self.program;
        program.steps_to(program.sentence).into_iter().map(|step| &program.steps[step].op)
    }

    /// Encodes texts. However many there are, only [`CPU_TOKENS_PER_BATCH`] tokens are in the encoder
    /// at a time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for options that this model does not support, [`Error::Text`] for a text that it has no
    /// vector for.
    pub fn encode<T: AsRef<str>>(&self, texts: &[T], options: &EncodeOptions) -> Result<Encoded> {
        let mut job = self.job(options, CPU_TOKENS_PER_BATCH)?;
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

    /// Tokenizes texts to encode them batch by batch. For each batch, call [`Embedder::compute`] to encode it here, or pass
    /// another encoder's results for [`Job::batch`] to [`Embedder::accept`]. Batches have [`CPU_TOKENS_PER_BATCH`] or
    /// [`crate::GPU_TOKENS_PER_BATCH`] tokens, or one text.
    ///
    /// # Errors
    ///
    /// As [`Embedder::encode`].
    pub fn begin<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &EncodeOptions,
        tokens_per_batch: usize,
    ) -> Result<Job> {
        let mut job = self.job(options, tokens_per_batch)?;
        texts.iter().try_for_each(|text| self.push(&mut job, text.as_ref()))?;
        Ok(job)
    }

    /// Encodes the next batch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] where there is none; [`Error::Text`] for a vector that is not finite.
    pub fn compute(&self, job: &mut Job) -> Result<()> {
        let batch = job.batch()?;
        let vectors = self.model.forward(batch, job.plan.pooling.as_ref())?;
        self.accept(job, vectors)
    }

    /// Accepts an encoder's results for the next batch: its texts' vectors after [`Job::pooling`] or, without pooling,
    /// the `last_hidden_state` of its tokens.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a wrong number of values, [`Error::Text`] for a vector that is not finite.
    pub fn accept(&self, job: &mut Job, vectors: Vec<f32>) -> Result<()> {
        let plan = &job.plan;
        let batch = job.batches.front().ok_or_else(no_batch)?;
        let expected = plan.model_size(&batch.tokens, &self.model);
        if vectors.len() != expected {
            return Err(Error::InvalidInput(format!(
                "the encoder returned {} values, but this batch needs {expected}",
                vectors.len()
            )));
        }
        let vectors = self.finish(vectors, &batch.tokens, plan)?;
        plan.check_finite(&vectors, batch)?;
        job.batches.pop_front();
        job.encoded.vectors.extend(vectors);
        Ok(())
    }

    fn job(&self, options: &EncodeOptions, tokens_per_batch: usize) -> Result<Job> {
        let plan = EncodePlan::new(self, options)?;
        let encoded = Encoded { dimension: plan.dimension, ..Encoded::default() };
        Ok(Job { plan, tokens_per_batch, batches: VecDeque::new(), encoded })
    }

    fn push(&self, job: &mut Job, text: &str) -> Result<()> {
        let plan = &job.plan;
        let prompted = match &*plan.prompt {
            "" => None,
            prompt => Some(format!("{prompt}{text}")),
        };
        let ids = self.tokenizer.ids(prompted.as_deref().unwrap_or(text), &plan.limit);
        let Ids { input_ids, token_type_ids, truncated } =
            ids.map_err(|error| text_error(text, error))?;
        self.model
            .check_text(&input_ids, &token_type_ids)
            .and_then(|()| plan.check_prompt(input_ids.len()))
            .map_err(|problem| Error::Text { text: excerpt(text), problem })?;
        job.encoded.token_counts.push(input_ids.len() as u32);
        job.encoded.truncated.push(truncated);
        let limit = job.tokens_per_batch;
        let has_room = |batch: &Batch| batch.tokens.token_count() + input_ids.len() <= limit;
        if !job.batches.back().is_some_and(has_room) {
            job.batches.push_back(Batch::default());
        }
        if let Some(batch) = job.batches.back_mut() {
            batch.tokens.push(&input_ids, &token_type_ids)?;
            batch.texts.push(excerpt(text));
        }
        Ok(())
    }

    /// What follows the encoder, and the options that change a vector.
    fn finish(
        &self,
        mut vectors: Vec<f32>,
        batch: &PackedBatch,
        plan: &EncodePlan,
    ) -> Result<Vec<f32>> {
        let poolings = plan.pooling.as_ref().map_or(1, |pooling| pooling.modes.len());
        let mut width = self.model.width() * poolings;
        for op in &plan.ops {
            match op {
                PlannedOp::Pool(pooling) => {
                    let mut pooled = Vec::new();
                    for text in batch.ranges() {
                        pooling.pool(
                            &vectors[text.start * width..text.end * width],
                            width,
                            &mut pooled,
                        );
                    }
                    vectors = pooled;
                    width *= pooling.modes.len();
                }
                PlannedOp::Pooler => {
                    let pooler =
                        self.model.encoder().and_then(Encoder::pooler).ok_or_else(|| {
                            Error::InvalidInput("this model's weights have no pooler".into())
                        })?;
                    let shape = [vectors.len() / width, width];
                    vectors = to_vec(pooler.forward(upload(vectors, shape, &self.device)))?;
                }
                &PlannedOp::Layer(index) => {
                    let layer = &self.layers[index];
                    vectors = layer.forward(vectors, &self.device)?;
                    width = layer.out_features();
                }
                PlannedOp::Normalize => normalize(&mut vectors, width),
            }
        }
        if plan.dimension < width {
            vectors = vectors
                .chunks_exact(width)
                .flat_map(|vector| &vector[..plan.dimension])
                .copied()
                .collect();
        }
        if plan.normalizes {
            normalize(&mut vectors, plan.dimension);
        }
        Ok(vectors)
    }

    /// Number of tokens of a prompt without a closing special token, as sentence-transformers counts them to leave a prompt
    /// out of the pooling.
    pub(crate) fn prompt_length(&self, prompt: &str) -> Result<usize> {
        if prompt.is_empty() {
            return Ok(0);
        }
        let ids = self.tokenizer.ids(prompt, self.limits.of(None));
        let ids = ids.map_err(|error| text_error(prompt, error))?.input_ids;
        let ends_special = ids.last().is_some_and(|id| self.tokenizer.is_special(*id));
        Ok(ids.len() - usize::from(ends_special))
    }

    /// The encoder's configuration and weight files.
    pub fn encoder_files(&self) -> &EncoderFiles {
        &self.encoder_files
    }

    /// Whether the encoder is as large as BERT-base or larger, so that even one text is a lot of work.
    pub fn is_large(&self) -> bool {
        self.model.is_large()
    }

    /// What a GPU needs to run this model's encoder.
    pub fn gpu_needs(&self, dtype: WeightDtype) -> GpuNeeds {
        self.model.gpu_needs(dtype)
    }
}

fn text_error(text: &str, error: embervec_tokenizer::Error) -> Error {
    match error {
        embervec_tokenizer::Error::Text(problem) => {
            Error::Text { text: excerpt(text), problem: format!("cannot be tokenized: {problem}") }
        }
        error => error.into(),
    }
}

fn no_batch() -> Error {
    Error::InvalidInput("all batches of this job are done".into())
}

/// Texts on their way through an encoder, batch by batch.
#[derive(Debug)]
pub struct Job {
    plan: EncodePlan,
    tokens_per_batch: usize,
    batches: VecDeque<Batch>,
    encoded: Encoded,
}

#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub tokens: PackedBatch,
    /// The beginning of each text, for messages.
    pub texts: Vec<String>,
}

impl Job {
    /// The next batch.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] where there is none.
    pub fn batch(&self) -> Result<&PackedBatch> {
        self.batches.front().map(|batch| &batch.tokens).ok_or_else(no_batch)
    }

    /// Whether no batch is left.
    pub fn is_done(&self) -> bool {
        self.batches.is_empty()
    }

    /// The pooling that the encoder must apply, if any.
    pub fn pooling(&self) -> Option<&SentencePooling> {
        self.plan.pooling.as_ref()
    }

    /// The vectors of all finished batches.
    pub fn into_encoded(self) -> Encoded {
        self.encoded
    }
}
