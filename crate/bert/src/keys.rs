//! The key table: which tensors a weight file must hold, under which names and in which shapes.
//!
//! | in the file | shape | here |
//! |---|---|---|
//! | `embeddings.word_embeddings.weight` | `[vocab_size, hidden_size]` | same |
//! | `embeddings.position_embeddings.weight` | `[max_position_embeddings, hidden_size]` | same |
//! | `embeddings.token_type_embeddings.weight` | `[type_vocab_size, hidden_size]` | same |
//! | `embeddings.LayerNorm.{weight,bias}` | `[hidden_size]` | same |
//! | `encoder.layer.N.attention.self.{query,key,value}.weight` | `[hidden_size, hidden_size]` (out, in) | same |
//! | `encoder.layer.N.attention.self.{query,key,value}.bias` | `[hidden_size]` | same |
//! | `encoder.layer.N.attention.output.dense.{weight,bias}` | `[hidden_size, hidden_size]`, `[hidden_size]` | same |
//! | `encoder.layer.N.attention.output.LayerNorm.{weight,bias}` | `[hidden_size]` | same |
//! | `encoder.layer.N.intermediate.dense.{weight,bias}` | `[intermediate_size, hidden_size]`, `[intermediate_size]` | same |
//! | `encoder.layer.N.output.dense.{weight,bias}` | `[hidden_size, intermediate_size]`, `[hidden_size]` | same |
//! | `encoder.layer.N.output.LayerNorm.{weight,bias}` | `[hidden_size]` | same |
//! | `pooler.dense.{weight,bias}` | `[hidden_size, hidden_size]`, `[hidden_size]` | same; both or neither |
//! | `bert.` + any of these | | without `bert.` |
//! | `….gamma`, `….beta` (checkpoints converted from TensorFlow) | | `….weight`, `….bias` |
//! | `embeddings.position_ids`, `embeddings.token_type_ids` | | not weights: counters that old versions saved; skipped |
//! | `cls.predictions.*`, `cls.seq_relationship.*` | | the heads of the two training tasks; the encoder does not use them; skipped |
//!
//! Everything else in a file is an error: it means that the file is not what its `config.json` says.

use std::collections::BTreeMap;

use crate::{BertConfig, Error, Result, safetensors::Header};

/// The tensors that a weight file must hold.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    tensors: BTreeMap<String, TensorSpec>,
}

#[derive(Clone, Debug)]
struct TensorSpec {
    shape: Vec<usize>,
    /// Tensors of one optional group are there all together or not at all.
    optional_group: Option<&'static str>,
}

impl KeyTable {
    /// An empty table, to be filled with [`KeyTable::require`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor that must be there.
    pub fn require(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.insert(name, shape, None);
    }

    fn insert(&mut self, name: impl Into<String>, shape: &[usize], group: Option<&'static str>) {
        let spec = TensorSpec { shape: shape.to_vec(), optional_group: group };
        self.tensors.insert(name.into(), spec);
    }

    /// The tensors of a BERT encoder of this configuration.
    pub fn bert(config: &BertConfig) -> Self {
        let mut table = Self::new();
        let hidden = config.hidden_size;
        let intermediate = config.intermediate_size;

        table.require("embeddings.word_embeddings.weight", &[config.vocab_size, hidden]);
        table.require(
            "embeddings.position_embeddings.weight",
            &[config.max_position_embeddings, hidden],
        );
        table.require("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden]);
        table.require_layer_norm("embeddings.LayerNorm", hidden);
        for layer in 0..config.num_hidden_layers {
            let at = |part: &str| format!("encoder.layer.{layer}.{part}");
            for part in ["query", "key", "value"] {
                table.require_linear(&at(&format!("attention.self.{part}")), hidden, hidden);
            }
            table.require_linear(&at("attention.output.dense"), hidden, hidden);
            table.require_layer_norm(&at("attention.output.LayerNorm"), hidden);
            table.require_linear(&at("intermediate.dense"), intermediate, hidden);
            table.require_linear(&at("output.dense"), hidden, intermediate);
            table.require_layer_norm(&at("output.LayerNorm"), hidden);
        }
        table.insert("pooler.dense.weight", &[hidden, hidden], Some("pooler"));
        table.insert("pooler.dense.bias", &[hidden], Some("pooler"));
        table
    }

    fn require_linear(&mut self, name: &str, out_features: usize, in_features: usize) {
        self.require(format!("{name}.weight"), &[out_features, in_features]);
        self.require(format!("{name}.bias"), &[out_features]);
    }

    fn require_layer_norm(&mut self, name: &str, size: usize) {
        self.require(format!("{name}.weight"), &[size]);
        self.require(format!("{name}.bias"), &[size]);
    }

    /// Compares a file's header with the table and gives, for each entry of the header, the
    /// tensor's name in the table, or `None` where it is to be skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] names the first tensor that is surplus, doubled, of the wrong shape or
    /// missing.
    pub(crate) fn resolve(&self, file: &str, header: &Header) -> Result<Vec<Option<String>>> {
        let problem = |tensor: &str, problem: String| {
            Err(Error::Tensor { file: file.into(), tensor: tensor.into(), problem })
        };
        let mut found: BTreeMap<String, &str> = BTreeMap::new();
        let mut names = Vec::with_capacity(header.entries.len());
        for entry in &header.entries {
            let Some(name) = canonical_name(&entry.name) else {
                names.push(None);
                continue;
            };
            let Some(spec) = self.tensors.get(&name) else {
                return problem(
                    &entry.name,
                    "is in the file, but not in the model that config.json describes".into(),
                );
            };
            if entry.shape != spec.shape {
                return problem(
                    &entry.name,
                    format!(
                        "has shape {:?}, but config.json asks for {:?}",
                        entry.shape, spec.shape
                    ),
                );
            }
            if let Some(other) = found.insert(name.clone(), &entry.name) {
                return problem(&entry.name, format!("stands for the same weights as \"{other}\""));
            }
            names.push(Some(name));
        }
        for (name, spec) in &self.tensors {
            if found.contains_key(name) {
                continue;
            }
            let group_is_absent = spec.optional_group.is_some_and(|group| {
                !self.tensors.iter().any(|(other, spec)| {
                    spec.optional_group == Some(group) && found.contains_key(other)
                })
            });
            if !group_is_absent {
                return problem(name, "is missing from the file".into());
            }
        }
        Ok(names)
    }
}

/// The table's name for a tensor of a file; `None` for what is known and not needed.
fn canonical_name(name: &str) -> Option<String> {
    if name.starts_with("cls.predictions.") || name.starts_with("cls.seq_relationship.") {
        return None;
    }
    let name = name.strip_prefix("bert.").unwrap_or(name);
    if name == "embeddings.position_ids" || name == "embeddings.token_type_ids" {
        return None;
    }
    let name = if let Some(stem) = name.strip_suffix(".gamma") {
        format!("{stem}.weight")
    } else if let Some(stem) = name.strip_suffix(".beta") {
        format!("{stem}.bias")
    } else {
        name.to_owned()
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_prefixed_names_become_the_tables() {
        let canonical = |name| canonical_name(name).expect("a weight");
        assert_eq!(canonical("bert.embeddings.LayerNorm.gamma"), "embeddings.LayerNorm.weight");
        assert_eq!(canonical("embeddings.LayerNorm.beta"), "embeddings.LayerNorm.bias");
        assert_eq!(canonical("pooler.dense.bias"), "pooler.dense.bias");
        assert_eq!(canonical_name("bert.embeddings.position_ids"), None);
        assert_eq!(canonical_name("cls.predictions.bias"), None);
    }
}
