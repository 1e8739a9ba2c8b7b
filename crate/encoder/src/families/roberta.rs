//! RoBERTa (Liu et al., <https://arxiv.org/abs/1907.11692>), XLM-RoBERTa (<https://arxiv.org/abs/1911.02116>) and CamemBERT
//! (<https://arxiv.org/abs/1911.03894>): BERT with positions that begin behind the padding token's id.

use super::{Family, bert};
use crate::config::Fields;
use crate::names::Names;
use crate::{EncoderSpec, Result};

/// [`RobertaConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/configuration_roberta.py#L25),
/// [`XLMRobertaConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/xlm_roberta/configuration_xlm_roberta.py#L25)
/// and [`CamembertConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/camembert/configuration_camembert.py#L25)
pub(super) fn read(fields: &Fields, family: Family) -> Result<EncoderSpec> {
    let vocab_size = if family == Family::Roberta { 50265 } else { 30522 };
    let mut spec = bert::read_as(fields, family, [vocab_size, 768, 12, 12, 3072])?;
    let padding = fields.padding_id(1)?;
    fields.count_from_behind(&mut spec, padding)?;
    Ok(spec)
}

/// [`RobertaModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/modeling_roberta.py#L551),
/// whose parts have the names of BERT's; how positions are counted is said in
/// [`RobertaEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/modeling_roberta.py#L142).
pub(super) const NAMES: Names = Names { prefix: "roberta.", ..bert::NAMES };
