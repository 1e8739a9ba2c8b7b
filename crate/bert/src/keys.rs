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
//! | `….weight_scale`, `….weight_zero_point`, beside a `….weight` of U8 | `[out_features]` or `[vocab_size]` … | a quantised weight |
//!
//! Everything else in a file is an error: it means that the file is not what its `config.json` says.

use std::collections::BTreeMap;

use embervec_kernels::{RowQ8, TABLE_MAX, WEIGHT_MAX, quantize_row, quantize_weights};
use safetensors::tensor::Dtype;

use crate::safetensors::{Entry, Header};
use crate::{BertConfig, Error, Result};

/// The group of the pooler's tensors.
const POOLER: &str = "pooler";

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
    /// `None` for what is never quantised.
    quantization: Option<Quantization>,
    /// Known, but not wanted.
    skipped: bool,
}

/// How a matrix becomes 8-bit values, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quantization {
    /// The weights of a linear layer: rotated, 7 bits.
    Linear,
    /// An embedding table: values of 0 to `max`.
    Table { max: u8 },
}

impl Quantization {
    /// The largest value.
    pub fn max(self) -> u8 {
        match self {
            Self::Linear => WEIGHT_MAX,
            Self::Table { max } => max,
        }
    }

    /// Appends a row's values.
    pub fn quantize(self, row: &[f32], values: &mut Vec<u8>) -> RowQ8 {
        match self {
            Self::Linear => quantize_weights(row, values),
            Self::Table { max } => quantize_row(row, max, values),
        }
    }
}

/// What an entry of a file's header is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    /// Known and not needed.
    Skipped,
    /// The table's tensor `name` in a floating-point dtype.
    Floats { name: String, quantization: Option<Quantization> },
    /// The table's tensor `name` in 8 bits, none above `max`.
    Values { name: String, max: u8 },
    /// The scales of the quantised tensor `of`.
    Scale { of: String },
    /// Its zero points.
    ZeroPoint { of: String },
}

impl KeyTable {
    /// An empty table, to be filled with [`KeyTable::require`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor that must be there and is never quantised.
    pub fn require(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.insert(name, shape, None, None);
    }

    pub(crate) fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        quantization: Option<Quantization>,
        optional_group: Option<&'static str>,
    ) {
        let spec =
            TensorSpec { shape: shape.to_vec(), optional_group, quantization, skipped: false };
        self.tensors.insert(name.into(), spec);
    }

    /// The tensors of a BERT encoder of this configuration.
    pub fn bert(config: &BertConfig) -> Self {
        let mut table = Self::new();
        let hidden = config.hidden_size;
        let intermediate = config.intermediate_size;

        for (name, rows) in [
            ("embeddings.word_embeddings.weight", config.vocab_size),
            ("embeddings.position_embeddings.weight", config.max_position_embeddings),
        ] {
            let quantization = Quantization::Table { max: TABLE_MAX };
            table.insert(name, &[rows, hidden], Some(quantization), None);
        }
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
        let group = Some(POOLER);
        table.insert("pooler.dense.weight", &[hidden, hidden], Some(Quantization::Linear), group);
        table.insert("pooler.dense.bias", &[hidden], None, group);
        table
    }

    /// Without the pooler: where a file has one, it is skipped.
    #[must_use]
    pub fn without_pooler(mut self) -> Self {
        for spec in self.tensors.values_mut() {
            spec.skipped = spec.optional_group == Some(POOLER);
        }
        self
    }

    /// With embedding tables of `bits` bits, 1 to 8, in place of 8: still a byte for each value, but one
    /// that compresses better. Of all-MiniLM-L6-v2 (22.9 MB), over the fixture texts:
    ///
    /// | bits | with brotli | mean cosine to fp32 | worst |
    /// |---|---|---|---|
    /// | 8 | 20.1 MB | 0.99824 | 0.99606 |
    /// | 7 | 18.6 MB | 0.99819 | 0.99548 |
    /// | 6 | 17.1 MB | 0.99768 | 0.99500 |
    /// | 5 | 16.1 MB | 0.99633 | 0.99232 |
    /// | 4 | 14.9 MB | 0.98992 | 0.97550 |
    #[must_use]
    pub fn with_table_bits(mut self, bits: u32) -> Self {
        for spec in self.tensors.values_mut() {
            if let Some(Quantization::Table { max }) = &mut spec.quantization {
                *max = TABLE_MAX >> u8::BITS.saturating_sub(bits.max(1));
            }
        }
        self
    }

    fn require_linear(&mut self, name: &str, out_features: usize, in_features: usize) {
        let weight = format!("{name}.weight");
        self.insert(weight, &[out_features, in_features], Some(Quantization::Linear), None);
        self.require(format!("{name}.bias"), &[out_features]);
    }

    fn require_layer_norm(&mut self, name: &str, size: usize) {
        self.require(format!("{name}.weight"), &[size]);
        self.require(format!("{name}.bias"), &[size]);
    }

    /// Compares a file's header with the table and gives the role of each of its entries.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] names the first tensor that is surplus, doubled, of the wrong shape or
    /// dtype, or missing.
    pub(crate) fn resolve(&self, file: &str, header: &Header) -> Result<Vec<Role>> {
        let problem = |tensor: &str, problem: String| Error::Tensor {
            file: file.into(),
            tensor: tensor.into(),
            problem,
        };
        let mut found: BTreeMap<String, &str> = BTreeMap::new();
        let mut roles = Vec::with_capacity(header.entries.len());
        for entry in &header.entries {
            let Some(name) = canonical_name(&entry.name) else {
                roles.push(Role::Skipped);
                continue;
            };
            let role = self.role(&name, entry).map_err(|what| problem(&entry.name, what))?;
            roles.push(role);
            if let Some(other) = found.insert(name, &entry.name) {
                return Err(problem(
                    &entry.name,
                    format!("stands for the same weights as \"{other}\""),
                ));
            }
        }
        for (name, spec) in &self.tensors {
            let group_is_absent = spec.optional_group.is_some_and(|group| {
                !self.tensors.iter().any(|(other, spec)| {
                    spec.optional_group == Some(group) && found.contains_key(other)
                })
            });
            if !found.contains_key(name) && !group_is_absent {
                return Err(problem(name, "is missing from the file".into()));
            }
        }
        for role in &roles {
            match role {
                Role::Values { name, .. } => {
                    for part in [format!("{name}_scale"), format!("{name}_zero_point")] {
                        if !found.contains_key(&part) {
                            let what = format!("is missing, but \"{name}\" is in 8 bits");
                            return Err(problem(&part, what));
                        }
                    }
                }
                Role::Floats { name, .. } if found.contains_key(&format!("{name}_scale")) => {
                    return Err(problem(name, "has a scale, but is not in 8 bits".into()));
                }
                _ => {}
            }
        }
        Ok(roles)
    }

    fn role(&self, name: &str, entry: &Entry) -> std::result::Result<Role, String> {
        let expect = |shape: &[usize], dtypes: &[Dtype]| {
            if entry.shape != shape {
                let found = &entry.shape;
                return Err(format!("has shape {found:?}, but config.json asks for {shape:?}"));
            }
            if !dtypes.contains(&entry.dtype) {
                let found = entry.dtype;
                let supported: Vec<_> = dtypes.iter().map(|dtype| format!("{dtype:?}")).collect();
                let supported = supported.join(", ");
                return Err(format!("dtype {found:?} is not supported; supported: {supported}"));
            }
            Ok(())
        };
        let floats = [Dtype::F32, Dtype::F16, Dtype::BF16];
        if let Some(TensorSpec { shape, quantization, skipped, .. }) = self.tensors.get(name) {
            let name = name.into();
            let role = match *quantization {
                Some(quantization) if entry.dtype == Dtype::U8 => {
                    expect(shape, &[Dtype::U8])?;
                    Role::Values { name, max: quantization.max() }
                }
                quantization => {
                    expect(shape, &floats)?;
                    Role::Floats { name, quantization }
                }
            };
            return Ok(if *skipped { Role::Skipped } else { role });
        }
        let quantized = |suffix: &str| {
            let of = name.strip_suffix(suffix)?;
            let spec = self.tensors.get(of).filter(|spec| spec.quantization.is_some())?;
            Some((of.to_owned(), spec.shape[0]))
        };
        if let Some((of, rows)) = quantized("_scale") {
            expect(&[rows], &[Dtype::F32])?;
            return Ok(Role::Scale { of });
        }
        if let Some((of, rows)) = quantized("_zero_point") {
            expect(&[rows], &[Dtype::U8])?;
            return Ok(Role::ZeroPoint { of });
        }
        Err("is in the file, but not in the model that config.json describes".into())
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
