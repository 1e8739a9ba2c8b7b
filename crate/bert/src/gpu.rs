//! What a model needs of a GPU, known before anything is fetched for it.

use embervec_kernels::rotation_block as block;

use crate::{BertConfig, WeightDtype};

/// Threads that a workgroup of our kernels has at most, as many as WebGPU promises.
const MAX_THREADS: usize = 256;

/// Tokens of a batch on a GPU at most, unless one text has more: a launch costs the same for few and
/// for many.
pub const GPU_TOKENS_PER_BATCH: usize = 512;

/// What a GPU must have for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuNeeds {
    /// Bytes of the largest buffer.
    pub buffer_bytes: u64,
    /// Why the kernels cannot compute such a model at all.
    pub unsupported: Option<String>,
}

impl GpuNeeds {
    /// Of a model of this shape.
    pub fn new(config: &BertConfig, dtype: WeightDtype) -> Self {
        Self {
            buffer_bytes: largest_buffer(config, dtype),
            unsupported: unsupported(config, dtype),
        }
    }
}

fn unsupported(config: &BertConfig, dtype: WeightDtype) -> Option<String> {
    let head_size = config.hidden_size / config.num_attention_heads;
    if !head_size.is_multiple_of(4) || !config.intermediate_size.is_multiple_of(4) {
        return Some(format!(
            "the GPU's kernels take four values at a time, but the model's attention heads have \
             {head_size} and its intermediate layer {}",
            config.intermediate_size
        ));
    }
    if config.num_attention_heads > MAX_THREADS {
        return Some(format!("the GPU's kernels take at most {MAX_THREADS} attention heads"));
    }
    let odd = |&size: &usize| block(size) < 4 || size / block(size) > MAX_THREADS;
    let odd = [config.hidden_size, config.intermediate_size].into_iter().find(odd);
    match (dtype, odd) {
        (WeightDtype::Q8, Some(size)) => Some(format!(
            "the GPU's kernels do not quantise rows of {size} values; dtype \"fp32\" works"
        )),
        _ => None,
    }
}

fn largest_buffer(config: &BertConfig, dtype: WeightDtype) -> u64 {
    let weight_bytes = match dtype {
        WeightDtype::Q8 => 1,
        WeightDtype::Fp16 => 2,
        WeightDtype::Fp32 => 4,
    };
    let hidden = config.hidden_size;
    let table = config.vocab_size.max(config.max_position_embeddings) * hidden;
    let widest = (3 * hidden).max(config.intermediate_size);
    let weights = table.max((1 + hidden) * widest) as u64 * weight_bytes;
    let rows = (config.max_position_embeddings.max(GPU_TOKENS_PER_BATCH) * widest) as u64;
    weights.max(4 * rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hidden_size: usize, heads: usize, intermediate_size: usize) -> BertConfig {
        let json = format!(
            r#"{{"model_type": "bert", "vocab_size": 30522, "hidden_size": {hidden_size}, "num_hidden_layers": 2,
                "num_attention_heads": {heads}, "intermediate_size": {intermediate_size}, "max_position_embeddings": 512,
                "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12}}"#
        );
        BertConfig::from_json("config.json", json.as_bytes()).expect("valid")
    }

    #[test]
    fn the_vocabulary_is_the_largest_buffer_of_a_small_model() {
        let needs = GpuNeeds::new(&config(384, 12, 1536), WeightDtype::Fp32);
        assert_eq!(needs, GpuNeeds { buffer_bytes: 30522 * 384 * 4, unsupported: None });
        let needs = GpuNeeds::new(&config(384, 12, 1536), WeightDtype::Q8);
        assert_eq!(needs.buffer_bytes, 30522 * 384);
    }

    #[test]
    fn odd_shapes_stay_on_the_cpu() {
        let unsupported = |hidden, heads, intermediate, dtype| {
            GpuNeeds::new(&config(hidden, heads, intermediate), dtype).unsupported.is_some()
        };
        assert!(unsupported(30, 3, 64, WeightDtype::Fp32));
        assert!(unsupported(36, 3, 64, WeightDtype::Q8));
        assert!(!unsupported(36, 3, 64, WeightDtype::Fp32));
        assert!(!unsupported(768, 12, 3072, WeightDtype::Q8));
        assert!(!unsupported(1024, 16, 4096, WeightDtype::Q8));
    }
}
