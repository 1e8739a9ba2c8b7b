//! ELECTRA (Clark et al., <https://arxiv.org/abs/2003.10555>): BERT, with embeddings that may be narrower than the layers.

use super::{Family, bert};
use crate::config::{Fields, Type};
use crate::names::Names;
use crate::{EncoderSpec, Result};

/// [`ElectraConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/electra/configuration_electra.py#L25)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let spec = bert::read_as(fields, Family::Electra, [30522, 256, 12, 4, 1024])?;
    let embedding_size = fields.dimension("embedding_size", 128)?;
    fields.check_types(&[
        ("summary_type", Type::Str),
        ("summary_use_proj", Type::Bool),
        ("summary_activation", Type::Str),
        ("summary_last_dropout", Type::Number),
    ])?;
    let has_projection = embedding_size != spec.hidden_size;
    Ok(EncoderSpec { embedding_size, has_projection, ..spec })
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`ElectraPreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/electra/modeling_electra.py#L505)
    prefix: "electra.",
    // [`ElectraModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/electra/modeling_electra.py#L545)
    projection: "embeddings_project",
    pooler: "",
    // [`ElectraEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/electra/modeling_electra.py#L56)
    // and [`ElectraLayer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/electra/modeling_electra.py#L367)
    ..bert::NAMES
};
