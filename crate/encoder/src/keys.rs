//! The tensors of a BERT encoder, by their names in a weight file.
//!
//! | tensor | shape |
//! |---|---|
//! | `embeddings.word_embeddings.weight` | `[vocab_size, hidden_size]` |
//! | `embeddings.position_embeddings.weight` | `[max_position_embeddings, hidden_size]` |
//! | `embeddings.token_type_embeddings.weight` | `[type_vocab_size, hidden_size]` |
//! | `embeddings.LayerNorm.{weight,bias}` | `[hidden_size]` |
//! | `encoder.layer.N.attention.self.{query,key,value}.weight` | `[hidden_size, hidden_size]` (out, in) |
//! | `encoder.layer.N.attention.self.{query,key,value}.bias` | `[hidden_size]` |
//! | `encoder.layer.N.attention.output.dense.{weight,bias}` | `[hidden_size, hidden_size]`, `[hidden_size]` |
//! | `encoder.layer.N.attention.output.LayerNorm.{weight,bias}` | `[hidden_size]` |
//! | `encoder.layer.N.intermediate.dense.{weight,bias}` | `[intermediate_size, hidden_size]`, `[intermediate_size]` |
//! | `encoder.layer.N.output.dense.{weight,bias}` | `[hidden_size, intermediate_size]`, `[hidden_size]` |
//! | `encoder.layer.N.output.LayerNorm.{weight,bias}` | `[hidden_size]` |
//! | `pooler.dense.{weight,bias}` | `[hidden_size, hidden_size]`, `[hidden_size]`; both or neither |

use embervec_weights::{KeyTable, Quantization};

use crate::BertConfig;

/// The group of the pooler's tensors.
pub const POOLER: &str = "pooler";

/// What may stand before every name: where BERT is a part of a model with heads.
const PREFIX: &str = "bert.";

/// The tensors of a BERT encoder of this configuration.
pub fn key_table(config: &BertConfig) -> KeyTable {
    let mut table = KeyTable::new(PREFIX);
    let hidden = config.hidden_size;
    let intermediate = config.intermediate_size;

    for (name, rows) in [
        ("embeddings.word_embeddings.weight", config.vocab_size),
        ("embeddings.position_embeddings.weight", config.max_position_embeddings),
    ] {
        table.require_matrix(name, [rows, hidden], Quantization::TABLE);
    }
    table.require("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden]);
    layer_norm(&mut table, "embeddings.LayerNorm", hidden);
    for layer in 0..config.num_hidden_layers {
        let at = |part: &str| format!("encoder.layer.{layer}.{part}");
        for part in ["query", "key", "value"] {
            linear(&mut table, &at(&format!("attention.self.{part}")), hidden, hidden);
        }
        linear(&mut table, &at("attention.output.dense"), hidden, hidden);
        layer_norm(&mut table, &at("attention.output.LayerNorm"), hidden);
        linear(&mut table, &at("intermediate.dense"), intermediate, hidden);
        linear(&mut table, &at("output.dense"), hidden, intermediate);
        layer_norm(&mut table, &at("output.LayerNorm"), hidden);
    }
    let weight = [hidden, hidden];
    table.optional(POOLER, "pooler.dense.weight", &weight, Some(Quantization::Linear));
    table.optional(POOLER, "pooler.dense.bias", &[hidden], None);
    table
}

fn linear(table: &mut KeyTable, name: &str, out_features: usize, in_features: usize) {
    let shape = [out_features, in_features];
    table.require_matrix(format!("{name}.weight"), shape, Quantization::Linear);
    table.require(format!("{name}.bias"), &[out_features]);
}

fn layer_norm(table: &mut KeyTable, name: &str, size: usize) {
    table.require(format!("{name}.weight"), &[size]);
    table.require(format!("{name}.bias"), &[size]);
}
