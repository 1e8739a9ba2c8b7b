//! What a model needs of a GPU, known before anything is fetched for it.

use embervec_weights::WeightDtype;

use crate::BertConfig;
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
    pub fn new(config: &BertConfig, dtype: WeightDtype) -> Self {
        Self {
            buffer_bytes: largest_buffer(config, dtype),
            unsupported: unsupported(config, dtype),
        }
    }
}

fn unsupported(config: &BertConfig, dtype: WeightDtype) -> Option<String> {
    let head_size = config.attention_head_size();
    if !head_size.is_multiple_of(4) || !config.intermediate_size.is_multiple_of(4) {
        return Some(format!(
            "the GPU kernels process four values at a time, but the model's attention heads have \
             {head_size} and its intermediate layer has {}",
            config.intermediate_size
        ));
    }
    if config.num_attention_heads > MAX_THREADS {
        return Some(format!("the GPU kernels support at most {MAX_THREADS} attention heads"));
    }
    // A workgroup adds the embeddings of 256 values, and computes at least one row of everything else.
    let groups = (longest_batch(config) * config.hidden_size as u64).div_ceil(256);
    if groups.max(longest_batch(config)) > MAX_GROUPS as u64 {
        return Some(format!(
            "a text of {} tokens with {} values each is too large for the GPU",
            config.max_position_embeddings, config.hidden_size
        ));
    }
    if dtype != WeightDtype::Q8 {
        return None;
    }
    let reason = unquantizable(config.hidden_size, Some(config.num_attention_heads))
        .or_else(|| unquantizable(config.intermediate_size, None))?;
    Some(format!("the GPU kernels cannot quantise this model ({reason}); use dtype \"fp32\""))
}

/// Tokens of the longest batch.
fn longest_batch(config: &BertConfig) -> u64 {
    config.max_position_embeddings.max(GPU_TOKENS_PER_BATCH) as u64
}

fn largest_buffer(config: &BertConfig, dtype: WeightDtype) -> u64 {
    let weight_bytes = match dtype {
        WeightDtype::Q8 => 1,
        WeightDtype::Fp16 => 2,
        WeightDtype::Fp32 => 4,
    };
    let [hidden, intermediate, words, positions] = [
        config.hidden_size,
        config.intermediate_size,
        config.vocab_size,
        config.max_position_embeddings,
    ]
    .map(|size| size as u64);
    let widest = (3 * hidden).max(intermediate);
    let weights = (words.max(positions) * hidden).max((1 + hidden) * widest) * weight_bytes;
    weights.max(4 * longest_batch(config) * widest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hidden_size: usize, heads: usize, intermediate_size: usize) -> BertConfig {
        BertConfig {
            vocab_size: 30522,
            hidden_size,
            num_hidden_layers: 2,
            num_attention_heads: heads,
            intermediate_size,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        }
    }

    #[test]
    fn the_vocabulary_is_the_largest_buffer_of_a_small_model() {
        let needs = GpuNeeds::new(&config(384, 12, 1536), WeightDtype::Fp32);
        assert_eq!(needs, GpuNeeds { buffer_bytes: 30522 * 384 * 4, unsupported: None });
        let needs = GpuNeeds::new(&config(384, 12, 1536), WeightDtype::Q8);
        assert_eq!(needs.buffer_bytes, 30522 * 384);
    }

    #[test]
    fn large_sizes_do_not_wrap() {
        let largest = 1 << 22;
        let config = BertConfig { vocab_size: largest, ..config(1 << 16, 256, 1 << 16) };
        assert_eq!(GpuNeeds::new(&config, WeightDtype::Fp32).buffer_bytes, 1 << 40);
        let config = BertConfig { intermediate_size: largest, hidden_size: largest, ..config };
        let bytes = ((1 << 22) + 1) * 3 * (1u64 << 22) * 4;
        assert_eq!(GpuNeeds::new(&config, WeightDtype::Fp32).buffer_bytes, bytes);
    }

    #[test]
    fn odd_shapes_stay_on_the_cpu() {
        let unsupported = |config: BertConfig, dtype| GpuNeeds::new(&config, dtype).unsupported;
        let is_unsupported = |hidden, heads, intermediate, dtype| {
            unsupported(config(hidden, heads, intermediate), dtype).is_some()
        };
        assert!(is_unsupported(30, 3, 64, WeightDtype::Fp32));
        assert!(is_unsupported(36, 3, 64, WeightDtype::Q8));
        assert!(!is_unsupported(36, 3, 64, WeightDtype::Fp32));
        assert!(!is_unsupported(256, 16, 1024, WeightDtype::Q8));
        assert!(!is_unsupported(768, 12, 3072, WeightDtype::Q8));
        assert!(!is_unsupported(1024, 16, 4096, WeightDtype::Q8));
        // A row of 4096 in f32 has 16 kB, all of the workgroup memory that is certain.
        assert!(is_unsupported(4096, 32, 4096, WeightDtype::Q8));
        let long = BertConfig { max_position_embeddings: 1 << 16, ..config(768, 12, 3072) };
        let reason = unsupported(long, WeightDtype::Fp32).expect("too long");
        assert!(reason.contains("65536 tokens"), "{reason}");
        let wide = BertConfig { max_position_embeddings: 8192, ..config(4096, 32, 4096) };
        assert!(unsupported(wide, WeightDtype::Fp32).is_some());
    }
}
