//! MPNet (Song et al., <https://arxiv.org/abs/2004.09297>): BERT without token types, whose attention also knows how far two
//! tokens are apart.

use super::{Family, bert};
use crate::config::Fields;
use crate::names::{LayerNames, Names};
use crate::{EncoderSpec, Result};

/// `padding_idx` of
/// [`MPNetEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L61),
/// whatever the configuration says.
const PADDING: u32 = 1;

/// `num_buckets` of
/// [`MPNetEncoder.compute_position_bias`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L312),
/// whatever the configuration says.
const BUCKETS: usize = 32;

/// [`MPNetConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/configuration_mpnet.py#L25)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let sizes = [30527, 768, 12, 12, 3072];
    let mut spec = bert::read_without_types(fields, Family::MpNet, sizes)?;
    fields.count_from_behind(&mut spec, PADDING)?;
    let buckets = fields.dimension("relative_attention_num_buckets", BUCKETS)?;
    if buckets < BUCKETS {
        return fields.unsupported("relative_attention_num_buckets", "at least 32");
    }
    spec.attention.relative_buckets = buckets;
    Ok(spec)
}

/// From this distance on all are in one bucket: `max_distance` of
/// [`MPNetEncoder.relative_position_bucket`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L330).
pub(crate) const REACH: usize = 128;

/// The least distances of the buckets behind those of single distances: `8 · 16^(i / 8)`, rounded up as torch does it in
/// 32 bits.
const LEAST: [usize; 8] = [8, 12, 16, 23, 32, 46, 64, 91];

/// The row of the table for a query that is so far behind a key, as
/// [`MPNetEncoder.relative_position_bucket`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L330)
/// finds it.
pub(crate) fn bucket(distance: isize) -> usize {
    let (half, exact) = (BUCKETS / 2, BUCKETS / 4);
    let size = distance.unsigned_abs();
    let bucket = match size < exact {
        true => size,
        false => exact - 1 + LEAST.iter().filter(|least| size >= **least).count(),
    };
    if distance < 0 { half + bucket } else { bucket }
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`MPNetPreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L46)
    prefix: "mpnet.",
    layer_parts: LayerNames {
        // [`MPNetSelfAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L115)
        query: "attention.attn.q",
        key: "attention.attn.k",
        value: "attention.attn.v",
        attention_output: "attention.attn.o",
        // [`MPNetAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L177)
        attention_norm: "attention.LayerNorm",
        // [`MPNetIntermediate`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L204)
        // and [`MPNetOutput`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L220)
        ..bert::NAMES.layer_parts
    },
    // [`MPNetEncoder`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L264)
    relative_bias: "encoder.relative_attention_bias",
    // [`MPNetEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L58)
    // and [`MPNetPooler`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/modeling_mpnet.py#L351)
    ..bert::NAMES
};

#[cfg(test)]
mod tests {
    use super::bucket;

    /// The first distance of each bucket, of torch's own arithmetic.
    #[test]
    fn buckets_begin_where_torchs_do() {
        let mut begins = Vec::new();
        for distance in 0..1000 {
            assert_eq!(bucket(-distance), bucket(distance) + if distance > 0 { 16 } else { 0 });
            if begins.len() == bucket(distance) {
                begins.push(distance);
            }
        }
        assert_eq!(begins, [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
    }
}
