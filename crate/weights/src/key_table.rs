//! What a model wants of a weight file: which tensors, in which shapes, and which of them become 8-bit values.
//!
//! | in the file | in the table |
//! |---|---|
//! | the table's name | the same |
//! | the table's prefix (`bert.`) and its name | the name |
//! | a name with a part that older files call otherwise | the name as it is called now |
//! | `….gamma`, `….beta` (checkpoints converted from TensorFlow) | `….weight`, `….bias` |
//! | `….weight_scale`, `….weight_zero_point`, beside a `….weight` of U8 | a quantised `….weight` |
//! | anything else | skipped, as transformers does: heads of training tasks, counters that old versions saved |

use std::collections::BTreeMap;

use embervec_kernels::{RowQ8, TABLE_MAX, WEIGHT_MAX, quantize_row, quantize_weights};
use safetensors::tensor::Dtype;

use crate::header::{Entry, Header};
use crate::limits::MAX_DIMENSION;
use crate::{Error, Result, Weights};

/// In a shape of the table: any size, which the file decides.
pub const ANY: usize = 0;

/// The tensors that a model needs.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    tensors: BTreeMap<String, TensorSpec>,
    /// What may stand before every name.
    prefix: &'static str,
    /// What older files call parts of a name, and what they are called now.
    renames: &'static [(&'static str, &'static str)],
    /// Tensors that some files have as one.
    chunks: Vec<Chunks>,
    /// Whether a tensor that is not in the table is an error.
    is_strict: bool,
}

/// A tensor, and the parts that it may be there as instead.
#[derive(Clone, Debug)]
struct Chunks {
    whole: String,
    parts: Vec<String>,
}

#[derive(Clone, Debug)]
struct TensorSpec {
    shape: Vec<usize>,
    /// Tensors of one optional group are there all together or not at all.
    optional_group: Option<&'static str>,
    /// `None` for what is never quantised.
    quantization: Option<Quantization>,
    /// What it may consist of.
    dtypes: &'static [Dtype],
    /// Known, but not wanted.
    skipped: bool,
}

/// How a matrix becomes 8-bit values, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantization {
    /// The weights of a linear layer: rotated, 7 bits.
    Linear,
    /// An embedding table: values of 0 to `max`.
    Table {
        /// The largest value.
        max: u8,
    },
}

impl Quantization {
    /// An embedding table of 8 bits.
    pub const TABLE: Self = Self::Table { max: TABLE_MAX };

    /// The largest value.
    pub(crate) fn max(self) -> u8 {
        match self {
            Self::Linear => WEIGHT_MAX,
            Self::Table { max } => max,
        }
    }

    /// Appends a row's values.
    pub(crate) fn quantize(self, row: &[f32], values: &mut Vec<u8>) -> RowQ8 {
        match self {
            Self::Linear => quantize_weights(row, values),
            Self::Table { max } => quantize_row(row, max, values),
        }
    }
}

/// What an entry of a file's header is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    /// Not wanted.
    Skipped,
    /// The table's tensor `name` in a dtype of numbers.
    Numbers { name: String, quantization: Option<Quantization> },
    /// The table's tensor `name` in 8 bits, none above `max`.
    Values { name: String, max: u8 },
    /// The scales of the quantised tensor `of`.
    Scale { of: String },
    /// Its zero points.
    ZeroPoint { of: String },
}

/// The optional groups of tensors that a file has either as one tensor or as several.
#[derive(Clone, Copy, Debug)]
pub struct ChunkGroups {
    /// Of what is there as one.
    pub whole: &'static str,
    /// Of the parts.
    pub parts: &'static str,
}

/// What a tensor may consist of: everything that torch casts to 32-bit floats and this crate reads.
const NUMBERS: &[Dtype] = &[Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64];

/// What numbers of rows may consist of; floats where this crate has written them.
const INDEXES: &[Dtype] = &[Dtype::I64, Dtype::I32, Dtype::F32];

impl KeyTable {
    /// An empty table. `prefix` may precede every name in a file: `bert.` in a checkpoint with the heads of
    /// BERT's training tasks.
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// Makes any other tensor in a file an error, as `load_state_dict(strict=True)` does.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// Knows older names, as `WeightRenaming` in transformers' `conversion_mapping.py` does.
    #[must_use]
    pub fn renamed(mut self, renames: &'static [(&'static str, &'static str)]) -> Self {
        self.renames = renames;
        self
    }

    /// Adds weights or biases of linear layers. A file has them either as separate tensors `parts`, each in `shape`, or
    /// concatenated as one tensor `whole`, as `Chunk(dim=0)` in transformers' `conversion_mapping.py`.
    pub fn chunked(
        &mut self,
        groups: ChunkGroups,
        whole: String,
        parts: Vec<String>,
        shape: &[usize],
    ) {
        let quantization = (shape.len() == 2).then_some(Quantization::Linear);
        let mut of_whole = shape.to_vec();
        if let Some(rows) = of_whole.first_mut() {
            *rows *= parts.len();
        }
        self.optional(groups.whole, &*whole, &of_whole, quantization);
        for part in &parts {
            self.optional(groups.parts, &**part, shape, quantization);
        }
        self.chunks.push(Chunks { whole, parts });
    }

    /// Cuts what is there as one into its parts.
    pub fn chunk(&self, weights: &mut Weights) {
        for Chunks { whole, parts } in &self.chunks {
            weights.chunk(whole, parts);
        }
    }

    /// Adds a required tensor that is never quantised.
    pub fn require(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.insert(name, shape, None, None);
    }

    /// Adds a required matrix.
    pub fn require_matrix(
        &mut self,
        name: impl Into<String>,
        shape: [usize; 2],
        how: Quantization,
    ) {
        self.insert(name, &shape, Some(how), None);
    }

    /// Adds a tensor that is required if any other tensor of its group exists.
    pub fn optional(
        &mut self,
        group: &'static str,
        name: impl Into<String>,
        shape: &[usize],
        quantization: Option<Quantization>,
    ) {
        self.insert(name, shape, quantization, Some(group));
    }

    fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        quantization: Option<Quantization>,
        optional_group: Option<&'static str>,
    ) {
        let shape = shape.to_vec();
        let dtypes = NUMBERS;
        let spec = TensorSpec { shape, optional_group, quantization, dtypes, skipped: false };
        self.tensors.insert(name.into(), spec);
    }

    /// Adds an embedding table of any shape that a file has by one of two names; `weights` calls it by the second.
    pub fn require_table_of(&mut self, groups: ChunkGroups, name: &str, other: &str) {
        let how = Some(Quantization::TABLE);
        self.optional(groups.whole, name, &[ANY, ANY], how);
        self.optional(groups.parts, other, &[ANY, ANY], how);
        self.chunks.push(Chunks { whole: name.into(), parts: vec![other.into()] });
    }

    /// Adds a vector of any length that may be there; of row numbers where it has `indexes`.
    pub fn optional_vector(&mut self, group: &'static str, name: &str, has_indexes: bool) {
        self.optional(group, name, &[ANY], None);
        if let Some(spec) = self.tensors.get_mut(name).filter(|_| has_indexes) {
            spec.dtypes = INDEXES;
        }
    }

    /// Turns it into a packer's table. The tensors of the optional group `unused` are skipped if a file has them, and
    /// embedding tables have `table_bits` bits, 1 to 8: each value still takes a byte, but one that compresses better. Of all-MiniLM-L6-v2 (22.9 MB), over the fixture texts:
    ///
    /// | bits | with brotli | mean cosine to fp32 | worst |
    /// |---|---|---|---|
    /// | 8 | 20.1 MB | 0.99824 | 0.99606 |
    /// | 7 | 18.6 MB | 0.99819 | 0.99548 |
    /// | 6 | 17.1 MB | 0.99768 | 0.99500 |
    /// | 5 | 16.1 MB | 0.99633 | 0.99232 |
    /// | 4 | 14.9 MB | 0.98992 | 0.97550 |
    pub fn pack(&mut self, table_bits: u32, unused: Option<&str>) {
        for spec in self.tensors.values_mut() {
            spec.skipped = spec.optional_group.is_some() && spec.optional_group == unused;
            if let Some(Quantization::Table { max }) = &mut spec.quantization {
                *max = TABLE_MAX >> u8::BITS.saturating_sub(table_bits.max(1));
            }
        }
    }

    /// Compares a file's header with the table and gives the role of each of its entries.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] names the first tensor that is doubled, of the wrong shape or dtype, or missing, unless the file
    /// is only a part.
    pub(crate) fn resolve(&self, file: &str, header: &Header, is_part: bool) -> Result<Vec<Role>> {
        let problem = |tensor: &str, problem: String| Error::Tensor {
            file: file.into(),
            tensor: tensor.into(),
            problem,
        };
        let mut found: BTreeMap<String, &str> = BTreeMap::new();
        let mut roles = Vec::with_capacity(header.entries.len());
        for entry in &header.entries {
            let name = self.canonical_name(&entry.name);
            let role = self.role(&name, entry).map_err(|what| problem(&entry.name, what))?;
            if role != Role::Skipped
                && let Some(other) = found.insert(name, &entry.name)
            {
                return Err(problem(
                    &entry.name,
                    format!("stands for the same weights as \"{other}\""),
                ));
            }
            roles.push(role);
        }
        if !is_part {
            let is_there = |name: &str| found.contains_key(name);
            self.check_complete(file, is_there).map_err(|error| match error {
                // Together they tell whether a file is of another kind of model.
                Error::Tensor { file, tensor, problem } => {
                    let entries = header.entries.iter().zip(&roles);
                    let surplus = entries.filter(|(_, role)| **role == Role::Skipped);
                    let problem = match surplus.map(|(entry, _)| &entry.name).min() {
                        Some(name) => format!(
                            "{problem}, and the file has \"{name}\", which this model does not need; \
                             check that config.json is of the same model"
                        ),
                        None => problem,
                    };
                    Error::Tensor { file, tensor, problem }
                }
                error => error,
            })?;
        }
        for role in &roles {
            match role {
                Role::Values { name, .. } => {
                    for part in [format!("{name}_scale"), format!("{name}_zero_point")] {
                        if !found.contains_key(&part) {
                            let what = format!(
                                "is missing, but \"{name}\" is stored in 8 bits and needs it"
                            );
                            return Err(problem(&part, what));
                        }
                    }
                }
                Role::Numbers { name, .. } if found.contains_key(&format!("{name}_scale")) => {
                    return Err(problem(name, "has a scale, but is not stored in 8 bits".into()));
                }
                _ => {}
            }
        }
        Ok(roles)
    }

    /// Refuses a file, or weights, where something is missing; `is_there` says whether a name is.
    fn check_complete(&self, file: &str, is_there: impl Fn(&str) -> bool) -> Result<()> {
        for Chunks { whole, parts } in &self.chunks {
            let problem = match (is_there(whole), parts.iter().find(|part| is_there(part))) {
                (true, None) | (false, Some(_)) => continue,
                (false, None) => "is missing from the file".to_owned(),
                (true, Some(part)) => format!("stands for the same weights as \"{part}\""),
            };
            return Err(Error::Tensor { file: file.into(), tensor: whole.clone(), problem });
        }
        for (name, spec) in &self.tensors {
            let group_is_absent = spec.optional_group.is_some_and(|group| {
                !self
                    .tensors
                    .iter()
                    .any(|(other, spec)| spec.optional_group == Some(group) && is_there(other))
            });
            if !spec.skipped && !group_is_absent && !is_there(name) {
                return Err(Error::Tensor {
                    file: file.into(),
                    tensor: name.clone(),
                    problem: "is missing from the file".into(),
                });
            }
        }
        Ok(())
    }

    /// Refuses weights from several files if a tensor is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] names the first.
    pub fn check(&self, file: &str, weights: &Weights) -> Result<()> {
        self.check_complete(file, |name| weights.contains(name))
    }

    fn role(&self, name: &str, entry: &Entry) -> std::result::Result<Role, String> {
        let expect = |shape: &[usize], dtypes: &[Dtype]| {
            let fits = |(&found, &expected): (&usize, &usize)| match expected {
                ANY => (1..=MAX_DIMENSION).contains(&found),
                expected => found == expected,
            };
            let found = &entry.shape;
            if found.len() != shape.len() || !found.iter().zip(shape).all(fits) {
                return Err(match shape.contains(&ANY) {
                    true => format!(
                        "has shape {found:?}, but must have {} dimensions of 1 to {MAX_DIMENSION}",
                        shape.len()
                    ),
                    false => {
                        format!("has shape {found:?}, but config.json requires {shape:?}")
                    }
                });
            }
            if !dtypes.contains(&entry.dtype) {
                let found = entry.dtype;
                let supported: Vec<_> = dtypes.iter().map(|dtype| format!("{dtype:?}")).collect();
                let supported = supported.join(", ");
                return Err(format!("dtype {found:?} is not supported; supported: {supported}"));
            }
            Ok(())
        };
        if let Some(TensorSpec { shape, quantization, dtypes, skipped, .. }) =
            self.tensors.get(name)
        {
            if *skipped {
                return Ok(Role::Skipped);
            }
            let name = name.into();
            return Ok(match *quantization {
                Some(quantization) if entry.dtype == Dtype::U8 => {
                    expect(shape, &[Dtype::U8])?;
                    Role::Values { name, max: quantization.max() }
                }
                quantization => {
                    expect(shape, dtypes)?;
                    Role::Numbers { name, quantization }
                }
            });
        }
        let quantized = |suffix: &str| {
            let of = name.strip_suffix(suffix)?;
            let spec = self.tensors.get(of).filter(|spec| spec.quantization.is_some())?;
            Some((of.to_owned(), spec))
        };
        for suffix in ["_scale", "_zero_point"] {
            let Some((of, spec)) = quantized(suffix) else { continue };
            if spec.skipped {
                return Ok(Role::Skipped);
            }
            let is_scale = suffix == "_scale";
            expect(&[spec.shape[0]], &[if is_scale { Dtype::F32 } else { Dtype::U8 }])?;
            return Ok(if is_scale { Role::Scale { of } } else { Role::ZeroPoint { of } });
        }
        if self.is_strict {
            return Err("is not part of the module that config.json describes".into());
        }
        Ok(Role::Skipped)
    }

    /// The table's name for a tensor of a file.
    fn canonical_name(&self, name: &str) -> String {
        let name = name.strip_prefix(self.prefix).unwrap_or(name);
        let rename = |name: String, (old, new): &(&str, &str)| name.replace(old, new);
        let name = self.renames.iter().fold(name.to_owned(), rename);
        if let Some(stem) = name.strip_suffix(".gamma") {
            format!("{stem}.weight")
        } else if let Some(stem) = name.strip_suffix(".beta") {
            format!("{stem}.bias")
        } else {
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_as_one_is_cut_into_its_parts() {
        let mut table = KeyTable::new("").renamed(&[("attn.", "self_attn.")]);
        let parts = ["self_attn.q", "self_attn.k"].map(String::from).to_vec();
        let groups = ChunkGroups { whole: "qk", parts: "q, k" };
        table.chunked(groups, "self_attn.qk".into(), parts, &[1, 2]);
        assert_eq!(table.canonical_name("attn.qk"), "self_attn.qk");
        let error = |names: &[&str]| {
            let result = table.check_complete("f", |name| names.contains(&name));
            result.err().map(|error| error.to_string())
        };
        assert_eq!(error(&["self_attn.qk"]), None);
        assert_eq!(error(&["self_attn.q", "self_attn.k"]), None);
        for (names, problem) in [
            (&[][..], "self_attn.qk"),
            (&["self_attn.q"], "self_attn.k"),
            (&["self_attn.qk", "self_attn.q"], "stands for the same"),
        ] {
            let error = error(names).unwrap_or_default();
            assert!(error.contains(problem), "{names:?}: {error}");
        }
        let mut weights = Weights::default();
        weights.insert("self_attn.qk".into(), vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        table.chunk(&mut weights);
        assert!(!weights.contains("self_attn.qk"));
        for (name, values) in [("self_attn.q", [1.0, 2.0]), ("self_attn.k", [3.0, 4.0])] {
            assert_eq!(weights.take_f32::<2>(name).expect("a part"), ([1, 2], values.to_vec()));
        }
    }

    #[test]
    fn old_and_prefixed_names_become_the_tables() {
        let table = KeyTable::new("bert.");
        for (name, canonical) in [
            ("bert.embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
            ("embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
            ("pooler.dense.bias", "pooler.dense.bias"),
            ("cls.predictions.bias", "cls.predictions.bias"),
        ] {
            assert_eq!(table.canonical_name(name), canonical);
        }
        assert_eq!(KeyTable::new("").canonical_name("bert.a"), "bert.a");
    }
}
