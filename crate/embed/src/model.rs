//! What makes vectors of tokens: an encoder, or a table alone.

use embervec_encoder::ops::to_vec;
use embervec_encoder::{
    BERT_BASE_WEIGHTS, Encoder, GpuNeeds, ModelLoader, PackedBatch, SentencePooling,
    StaticEmbedding, StaticLoader,
};
use embervec_weights::{TensorReader, WeightDtype, Weights};

use crate::Result;

/// A model without the steps behind it.
#[allow(clippy::large_enum_variant, reason = "a program has one of them")]
#[derive(Debug)]
pub(crate) enum Model {
    /// Gives a vector for each token.
    Encoder(Encoder),
    /// Gives a vector for each text.
    Static(StaticEmbedding),
}

impl Model {
    /// Length of the vectors.
    pub fn width(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.spec().hidden_size,
            Self::Static(table) => table.size(),
        }
    }

    pub fn encoder(&self) -> Option<&Encoder> {
        match self {
            Self::Encoder(encoder) => Some(encoder),
            Self::Static(_) => None,
        }
    }

    /// As [`embervec_encoder::EncoderSpec::check_text`].
    pub fn check_text(
        &self,
        input_ids: &[u32],
        token_type_ids: &[u32],
    ) -> std::result::Result<(), String> {
        match self {
            Self::Encoder(encoder) => encoder.spec().check_text(input_ids, token_type_ids),
            Self::Static(table) => table.check_text(input_ids),
        }
    }

    /// A vector for each token, or with a pooling for each text; a static model's are always of texts.
    pub fn forward(
        &self,
        batch: &PackedBatch,
        pooling: Option<&SentencePooling>,
    ) -> Result<Vec<f32>> {
        match (self, pooling) {
            (Self::Encoder(encoder), None) => Ok(to_vec(encoder.forward(batch)?)?),
            (Self::Encoder(encoder), Some(pooling)) => {
                Ok(to_vec(encoder.forward_pooled(batch, pooling)?)?)
            }
            (Self::Static(table), _) => Ok(table.forward(batch)?),
        }
    }

    /// How many vectors [`Model::forward`] gives for a batch, without a pooling.
    pub fn rows(&self, batch: &PackedBatch) -> usize {
        match self {
            Self::Encoder(_) => batch.token_count(),
            Self::Static(_) => batch.len(),
        }
    }

    /// Whether even one text is a lot of work.
    pub fn is_large(&self) -> bool {
        self.encoder().is_some_and(|encoder| encoder.spec().linear_weights() >= BERT_BASE_WEIGHTS)
    }

    pub fn gpu_needs(&self, dtype: WeightDtype) -> GpuNeeds {
        match self {
            Self::Encoder(encoder) => GpuNeeds::new(encoder.spec(), dtype),
            Self::Static(_) => GpuNeeds {
                buffer_bytes: 0,
                unsupported: Some("a static model only looks its vectors up, without a GPU".into()),
            },
        }
    }
}

/// A model whose weights are still coming.
#[derive(Debug)]
pub(crate) enum PendingModel {
    Encoder(Box<ModelLoader>),
    Static(StaticLoader),
}

impl PendingModel {
    /// See [`ModelLoader::pack`].
    pub fn pack(&mut self, table_bits: u32, keeps_pooler: bool) {
        match self {
            Self::Encoder(encoder) => encoder.pack(table_bits, keeps_pooler),
            Self::Static(table) => table.pack(table_bits),
        }
    }

    pub fn reader(&self, path: &str) -> TensorReader {
        match self {
            Self::Encoder(encoder) => encoder.reader(path),
            Self::Static(table) => table.reader(path),
        }
    }

    pub fn take(&mut self, path: &str, weights: Weights) -> Result<()> {
        match self {
            Self::Encoder(encoder) => Ok(encoder.take(path, weights)?),
            Self::Static(table) => Ok(table.take(path, weights)?),
        }
    }

    pub fn finish(self) -> Result<Model> {
        match self {
            Self::Encoder(encoder) => Ok(Model::Encoder(encoder.finish()?)),
            Self::Static(table) => Ok(Model::Static(table.finish()?)),
        }
    }
}
