//! What a model needs of a GPU, known before anything is fetched for it.

use embervec_weights::WeightDtype;

use crate::EncoderSpec;
use crate::ops::shaders::{MAX_THREADS, unquantizable};

/// The most tokens in a batch on a GPU, unless one text has more. A launch costs the same for few and
/// for many.
pub const GPU_TOKENS_PER_BATCH: usize = 512;

/// A dimension of a grid has at most this many workgroups (the lowest limit that WebGPU allows an adapter).
pub(crate) const MAX_GROUPS: usize = 65_535;

/// What a model needs from a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuNeeds {
    /// Bytes of the largest buffer.
    pub buffer_bytes: u64,
    /// Why the kernels cannot compute such a model at all.
    pub unsupported: Option<String>,
}

impl GpuNeeds {
    /// For a model of this shape.
    pub fn new(spec: &EncoderSpec, dtype: WeightDtype) -> Self {
        Self { buffer_bytes: largest_buffer(spec, dtype), unsupported: unsupported(spec, dtype) }
    }
}

fn unsupported(spec: &EncoderSpec, dtype: WeightDtype) -> Option<String> {
    let &EncoderSpec { embedding_size, hidden_size, attention, feed_forward, .. } = spec;
    let (head_size, heads) = (spec.attention_head_size(), attention.num_heads);
    let intermediate_size = feed_forward.intermediate_size;
    if !head_size.is_multiple_of(4) || !intermediate_size.is_multiple_of(4) {
        return Some(format!(
            "the GPU kernels process four values at a time, but the model's attention heads have \
             {head_size} values and its intermediate layer has {intermediate_size}"
        ));
    }
    if !embedding_size.is_multiple_of(4) {
        return Some(format!(
            "the GPU kernels process four values at a time, but the model's embeddings have {embedding_size} values"
        ));
    }
    if heads > MAX_THREADS {
        return Some(format!("the GPU kernels support at most {MAX_THREADS} attention heads"));
    }
    if attention.has_qk_norm {
        return Some("the GPU kernels do not normalise queries and keys".into());
    }
    // A workgroup adds the embeddings of 256 values, and computes at least one row of everything else.
    let groups = (longest_batch(spec) * embedding_size.max(hidden_size) as u64).div_ceil(256);
    if groups.max(longest_batch(spec)) > MAX_GROUPS as u64 {
        return Some(format!(
            "a text of {} tokens with {hidden_size} values each is too large for the GPU",
            spec.positions.limit()
        ));
    }
    // A token's position and type share a word.
    let positions = if spec.positions.has_table { spec.positions.rows } else { 1 };
    if positions.max(spec.type_vocab_size) > 1 << 16 {
        return Some("the GPU kernels support at most 65536 positions and token types".into());
    }
    if dtype != WeightDtype::Q8 {
        return None;
    }
    let reason = unquantizable(hidden_size, Some(heads))
        .or_else(|| unquantizable(intermediate_size, None))
        .or_else(|| unquantizable(embedding_size, None))?;
    Some(format!("the GPU kernels cannot quantise this model ({reason}); use dtype \"fp32\""))
}

/// Tokens of the longest batch.
fn longest_batch(spec: &EncoderSpec) -> u64 {
    spec.positions.limit().max(GPU_TOKENS_PER_BATCH) as u64
}

fn largest_buffer(spec: &EncoderSpec, dtype: WeightDtype) -> u64 {
    let weight_bytes = match dtype {
        WeightDtype::Q8 => 1,
        WeightDtype::Fp16 => 2,
        WeightDtype::Fp32 => 4,
    };
    let [embedding, hidden, intermediate, words, positions] = [
        spec.embedding_size,
        spec.hidden_size,
        spec.feed_forward.intermediate_size,
        spec.vocab_size,
        spec.positions.rows,
    ]
    .map(|size| size as u64);
    let widest = embedding.max(3 * hidden).max(intermediate);
    let weights = (words.max(positions) * embedding).max((1 + hidden) * widest) * weight_bytes;
    weights.max(4 * longest_batch(spec) * widest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeedForwardSpec, Positions};

    fn spec(hidden_size: usize, heads: usize, intermediate_size: usize) -> EncoderSpec {
        let json = format!(
            r#"{{"model_type": "bert", "hidden_size": {hidden_size}, "num_attention_heads": {heads},
                "intermediate_size": {intermediate_size}}}"#
        );
        EncoderSpec::from_json("config.json", json.as_bytes()).expect("valid")
    }

    #[test]
    fn the_vocabulary_is_the_largest_buffer_of_a_small_model() {
        let needs = GpuNeeds::new(&spec(384, 12, 1536), WeightDtype::Fp32);
        assert_eq!(needs, GpuNeeds { buffer_bytes: 30522 * 384 * 4, unsupported: None });
        let needs = GpuNeeds::new(&spec(384, 12, 1536), WeightDtype::Q8);
        assert_eq!(needs.buffer_bytes, 30522 * 384);
    }

    #[test]
    fn large_sizes_do_not_wrap() {
        let largest = 1 << 22;
        let wide = EncoderSpec { vocab_size: largest, ..spec(1 << 16, 256, 1 << 16) };
        assert_eq!(GpuNeeds::new(&wide, WeightDtype::Fp32).buffer_bytes, 1 << 40);
        let feed_forward = FeedForwardSpec { intermediate_size: largest, ..wide.feed_forward };
        let wider = EncoderSpec { feed_forward, hidden_size: largest, ..wide };
        let bytes = ((1 << 22) + 1) * 3 * (1u64 << 22) * 4;
        assert_eq!(GpuNeeds::new(&wider, WeightDtype::Fp32).buffer_bytes, bytes);
    }

    #[test]
    fn odd_shapes_stay_on_the_cpu() {
        let unsupported = |spec: EncoderSpec, dtype| GpuNeeds::new(&spec, dtype).unsupported;
        let is_unsupported = |hidden, heads, intermediate, dtype| {
            unsupported(spec(hidden, heads, intermediate), dtype).is_some()
        };
        assert!(is_unsupported(30, 3, 64, WeightDtype::Fp32));
        assert!(is_unsupported(36, 3, 64, WeightDtype::Q8));
        assert!(!is_unsupported(36, 3, 64, WeightDtype::Fp32));
        assert!(!is_unsupported(256, 16, 1024, WeightDtype::Q8));
        assert!(!is_unsupported(768, 12, 3072, WeightDtype::Q8));
        assert!(!is_unsupported(1024, 16, 4096, WeightDtype::Q8));
        // A row of 4096 in f32 has 16 kB, all of the workgroup memory that is certain.
        assert!(is_unsupported(4096, 32, 4096, WeightDtype::Q8));
        let of_positions =
            |rows, spec: EncoderSpec| EncoderSpec { positions: Positions::table(rows), ..spec };
        let long = of_positions(1 << 16, spec(768, 12, 3072));
        let reason = unsupported(long, WeightDtype::Fp32).expect("too long");
        assert!(reason.contains("65536 tokens"), "{reason}");
        let wide = of_positions(8192, spec(4096, 32, 4096));
        assert!(unsupported(wide, WeightDtype::Fp32).is_some());
        let types = EncoderSpec { type_vocab_size: (1 << 16) + 1, ..spec(768, 12, 3072) };
        let reason = unsupported(types, WeightDtype::Fp32).expect("too many types");
        assert!(reason.contains("token types"), "{reason}");
        let narrow = EncoderSpec { embedding_size: 30, ..spec(768, 12, 3072) };
        assert!(unsupported(narrow, WeightDtype::Fp32).is_some());
        let narrow = EncoderSpec { embedding_size: 36, ..spec(768, 12, 3072) };
        assert!(unsupported(narrow.clone(), WeightDtype::Fp32).is_none());
        assert!(unsupported(narrow, WeightDtype::Q8).is_some());
    }
}
