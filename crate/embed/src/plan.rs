//! What a call makes of a model: the folder's steps and the call's options together.

use embervec_encoder::{PackedBatch, PoolingMode, SentencePooling};
use embervec_tokenizer::Limit;

use crate::embedder::{Batch, Embedder, EncodeOptions, Output};
use crate::model::Model;
use crate::recipe::program::Op;
use crate::{Error, Result};

/// Options and folder together, checked once per call.
#[derive(Debug)]
pub(crate) struct EncodePlan {
    pub prompt: String,
    pub limit: Limit,
    /// What the encoder itself does: the first steps, where they are a pooling of its own output and Normalize.
    pub pooling: Option<SentencePooling>,
    /// What follows.
    pub ops: Vec<PlannedOp>,
    /// Whether vectors are scaled after everything else.
    pub normalizes: bool,
    pub dimension: usize,
    pub output: Output,
    /// The tokens of a prompt that a pooling leaves out: a text must have more where it takes their largest.
    least_tokens: usize,
}

/// A step as a call wants it.
#[derive(Debug)]
pub(crate) enum PlannedOp {
    Pool(SentencePooling),
    Pooler,
    Layer(usize),
    Normalize,
}

impl EncodePlan {
    pub fn new(embedder: &Embedder, options: &EncodeOptions) -> Result<Self> {
        let EncodeOptions { task, prompt, prompt_name, pooling, normalize, truncate_dim, output } =
            options;
        let is_token = *output == Output::Token;
        if is_token && (pooling.is_some() || normalize.is_some() || truncate_dim.is_some()) {
            return Err(Error::InvalidInput(
                "pooling, normalize and truncateDim apply to sentence vectors; omit them with output \"token\"".into(),
            ));
        }
        if pooling.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::InvalidInput(
                "pooling is an empty list; name at least one pooling".into(),
            ));
        }
        let prompt =
            embedder.settings.prompts.resolve(prompt.as_deref(), prompt_name.as_deref(), *task)?;
        let mut plan = Self {
            limit: embedder.limits.of(*task).clone(),
            pooling: None,
            ops: Vec::new(),
            normalizes: *normalize == Some(true),
            dimension: 0,
            output: *output,
            least_tokens: 0,
            prompt,
        };
        let width = plan.add_steps(embedder, options)?;
        plan.fuse();
        // What a call says takes the place of what the folder says.
        plan.dimension = match truncate_dim {
            Some(given) => *given,
            None if is_token => width,
            None => embedder.truncated(width),
        };
        if plan.dimension == 0 || plan.dimension > width {
            return Err(Error::InvalidInput(match truncate_dim {
                Some(given) => format!(
                    "truncateDim is {given}, but must be between 1 and {width}, the length of the vector"
                ),
                None => format!(
                    "the model's truncate_dim leaves no dimensions; set truncateDim to a number \
                     between 1 and {width}, the length of the vector"
                ),
            }));
        }
        Ok(plan)
    }

    /// Takes over the folder's steps to what is asked for; gives the width of the last one's value.
    fn add_steps(&mut self, embedder: &Embedder, options: &EncodeOptions) -> Result<usize> {
        let program = &embedder.program;
        let value = match options.output {
            Output::Sentence => program.sentence,
            Output::Token => program.tokens.ok_or_else(|| {
                Error::InvalidInput(
                    "this model does not produce token vectors; omit output \"token\"".into(),
                )
            })?,
        };
        let mut steps = program.steps_to(value);
        let is_normalize = |step: &usize| program.steps[*step].op == Op::Normalize;
        while options.normalize == Some(false) && steps.last().is_some_and(is_normalize) {
            steps.pop();
        }
        let mut width = embedder.model.width();
        let mut is_pooled = false;
        for step in steps {
            let op = match &program.steps[step].op {
                Op::Pool(pooling) => {
                    is_pooled = true;
                    let modes = options.pooling.as_ref().unwrap_or(&pooling.modes).clone();
                    width *= modes.len();
                    let skip = match pooling.include_prompt {
                        true => 0,
                        false => embedder.prompt_length(&self.prompt)?,
                    };
                    if modes.contains(&PoolingMode::Max) {
                        self.least_tokens = skip + 1;
                    }
                    PlannedOp::Pool(SentencePooling { modes, skip, normalize: false })
                }
                Op::Pooler => PlannedOp::Pooler,
                &Op::Layer(index) => {
                    let layer = &embedder.layers[index];
                    if layer.in_features() != width {
                        return Err(Error::InvalidInput(format!(
                            "this pooling produces vectors of {width} values, but the model's next module expects {}",
                            layer.in_features()
                        )));
                    }
                    width = layer.out_features();
                    PlannedOp::Layer(index)
                }
                Op::Normalize => PlannedOp::Normalize,
            };
            self.ops.push(op);
        }
        if options.pooling.is_some() && !is_pooled {
            return Err(Error::InvalidInput(
                "this model does not pool token vectors; omit `pooling`".into(),
            ));
        }
        Ok(width)
    }

    /// Has the encoder do the first steps, where it can: less has to be moved.
    fn fuse(&mut self) {
        let pooling = match self.ops.first() {
            Some(PlannedOp::Pool(pooling)) => pooling.clone(),
            // The pooler takes the first token's vector.
            Some(PlannedOp::Pooler) => {
                let modes = vec![PoolingMode::Cls];
                self.pooling = Some(SentencePooling { modes, skip: 0, normalize: false });
                return;
            }
            _ => return,
        };
        self.ops.remove(0);
        let normalize = matches!(self.ops.first(), Some(PlannedOp::Normalize));
        if normalize {
            self.ops.remove(0);
        }
        self.pooling = Some(SentencePooling { normalize, ..pooling });
    }

    /// Number of values that the model gives for a batch.
    pub fn model_size(&self, batch: &PackedBatch, model: &Model) -> usize {
        let rows = match &self.pooling {
            None => model.rows(batch),
            Some(pooling) => batch.len() * pooling.modes.len(),
        };
        rows * model.width()
    }

    /// Refuses a text of which a prompt leaves nothing that could be the largest.
    pub fn check_prompt(&self, tokens: usize) -> std::result::Result<(), String> {
        if tokens >= self.least_tokens {
            return Ok(());
        }
        Err("has no tokens besides the prompt's, which pooling \"max\" excludes, so it has no finite vector; \
             use another pooling or a shorter prompt"
            .into())
    }

    pub fn check_finite(&self, vectors: &[f32], batch: &Batch) -> Result<()> {
        let is_finite = |row: &[f32]| row.iter().all(|x| x.is_finite());
        if is_finite(vectors) {
            return Ok(());
        }
        let mut rows = 0..0;
        for (text, tokens) in batch.texts.iter().zip(batch.tokens.ranges()) {
            let count = if self.output == Output::Token { tokens.len() } else { 1 };
            rows = rows.end..rows.end + count;
            if !is_finite(&vectors[rows.start * self.dimension..rows.end * self.dimension]) {
                return Err(Error::Text {
                    text: text.clone(),
                    problem: "has a vector that is not finite: with this model's weights, one of its values is NaN or infinite".into(),
                });
            }
        }
        Ok(())
    }
}
