//! Tensors by name, on their way from a file into a model.

use std::collections::BTreeMap;

use embervec_kernels::RowQ8;
use half::f16;

use crate::{Error, Result};

/// How the weights of linear layers and embedding tables are kept. Everything else (biases, layer
/// norms, token types) is always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightDtype {
    /// As they are; 16-bit floats become 32-bit ones.
    #[default]
    Fp32,
    /// In 16-bit floats, to compute in 32 bits. Only a GPU keeps them so; on the CPU these are
    /// the weights of [`WeightDtype::Fp32`], rounded.
    Fp16,
    /// Linear layers in 7 bits, tables in 8, with a scale and a zero point per row.
    Q8,
}

impl WeightDtype {
    /// The dtype of this name: `fp32`, `fp16` or `q8`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] that lists the names there are.
    pub fn parse(name: &str) -> Result<Self> {
        let dtypes = [Self::Fp32, Self::Fp16, Self::Q8];
        dtypes.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
            Error::InvalidInput(format!("unknown dtype \"{name}\"; use fp32, fp16 or q8"))
        })
    }

    /// Its name, which [`WeightDtype::parse`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Q8 => "q8",
        }
    }
}

/// The decoded tensors of a weight file. Each can be taken once.
#[derive(Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, (Vec<usize>, Values)>,
    quantized: bool,
}

/// The elements of a tensor, row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// As they are.
    F32(Vec<f32>),
    /// Rounded.
    F16(Vec<f16>),
    /// Quantised.
    Q8 {
        /// The values.
        values: Vec<u8>,
        /// One for each index of the first dimension.
        rows: Vec<RowQ8>,
    },
}

impl Values {
    /// Multiplies the values. Half-precision values become floats, so that they are rounded only once.
    pub fn scale(&mut self, factor: f32) {
        if factor == 1.0 {
            return;
        }
        match self {
            Self::F32(values) => values.iter_mut().for_each(|x| *x *= factor),
            Self::F16(values) => {
                *self = Self::F32(values.iter().map(|x| x.to_f32() * factor).collect());
            }
            Self::Q8 { rows, .. } => rows.iter_mut().for_each(|row| row.scale *= factor),
        }
    }

    /// Cuts the rows behind the first ones off.
    fn split_off(&mut self, rows: usize, columns: usize) -> Self {
        match self {
            Self::F32(values) => Self::F32(values.split_off(rows * columns)),
            Self::F16(values) => Self::F16(values.split_off(rows * columns)),
            Self::Q8 { values, rows: of } => {
                Self::Q8 { values: values.split_off(rows * columns), rows: of.split_off(rows) }
            }
        }
    }

    /// Appends rows of the same kind, or halves to floats.
    ///
    /// # Errors
    ///
    /// A description of the problem, if the kinds do not match.
    pub fn append(&mut self, other: Self) -> std::result::Result<(), &'static str> {
        match (self, other) {
            (Self::F32(values), Self::F32(mut more)) => values.append(&mut more),
            // Behind rows that were scaled.
            (Self::F32(values), Self::F16(more)) => {
                values.extend(more.iter().map(|x| x.to_f32()));
            }
            (Self::F16(values), Self::F16(mut more)) => values.append(&mut more),
            (
                Self::Q8 { values, rows },
                Self::Q8 { values: mut more_values, rows: mut more_rows },
            ) => {
                values.append(&mut more_values);
                rows.append(&mut more_rows);
            }
            _ => return Err("has a different dtype from its neighbours"),
        }
        Ok(())
    }
}

impl Weights {
    pub(crate) fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.tensors.insert(name, (shape, Values::F32(values)));
    }

    pub(crate) fn insert_f16(&mut self, name: String, shape: Vec<usize>, values: Vec<f16>) {
        self.tensors.insert(name, (shape, Values::F16(values)));
    }

    pub(crate) fn insert_q8(
        &mut self,
        name: String,
        shape: Vec<usize>,
        values: Vec<u8>,
        rows: Vec<RowQ8>,
    ) {
        self.quantized = true;
        self.tensors.insert(name, (shape, Values::Q8 { values, rows }));
    }

    /// Adds the tensors of another file of the same weights.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] for a tensor that exists already.
    pub fn merge(&mut self, file: &str, mut other: Self) -> Result<()> {
        if let Some(name) = other.tensors.keys().find(|name| self.contains(name)) {
            return Err(Error::Tensor {
                file: file.into(),
                tensor: name.clone(),
                problem: "is also in another file of these weights".into(),
            });
        }
        self.tensors.append(&mut other.tensors);
        self.quantized |= other.quantized;
        Ok(())
    }

    /// Cuts a tensor, where it is there, into parts of as many rows each.
    pub(crate) fn chunk(&mut self, whole: &str, parts: &[String]) {
        let Some((mut shape, mut values)) = self.tensors.remove(whole) else { return };
        let columns = shape[1..].iter().product();
        shape[0] /= parts.len();
        for part in parts {
            let rest = values.split_off(shape[0], columns);
            self.tensors
                .insert(part.clone(), (shape.clone(), std::mem::replace(&mut values, rest)));
        }
    }

    /// Whether linear layers have 8-bit weights.
    pub fn are_quantized(&self) -> bool {
        self.quantized
    }

    /// Whether a tensor of this name is still there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Moves a tensor of `D` dimensions out.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] when it is not there or has another rank. A [`crate::TensorReader`] has
    /// compared names and shapes with the key table, so this means that the table and the model
    /// disagree.
    pub fn take<const D: usize>(&mut self, name: &str) -> Result<([usize; D], Values)> {
        let (shape, values) = self
            .tensors
            .remove(name)
            .ok_or_else(|| Error::disagree(name, "is not in the key table"))?;
        let shape =
            shape.try_into().map_err(|_| Error::disagree(name, "has an unexpected rank"))?;
        Ok((shape, values))
    }

    /// As [`Weights::take`], for what is always `f32`.
    ///
    /// # Errors
    ///
    /// As [`Weights::take`].
    pub fn take_f32<const D: usize>(&mut self, name: &str) -> Result<([usize; D], Vec<f32>)> {
        match self.take(name)? {
            (shape, Values::F32(values)) => Ok((shape, values)),
            (_, Values::F16(_) | Values::Q8 { .. }) => Err(Error::disagree(name, "is not f32")),
        }
    }

    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<(&[usize], &Values)> {
        self.tensors.get(name).map(|(shape, values)| (&shape[..], values))
    }
}

impl Error {
    /// For a tensor that the model uses in another way than its key table says.
    pub fn disagree(tensor: &str, how: &str) -> Self {
        Self::Tensor {
            file: "model".into(),
            tensor: tensor.into(),
            problem: format!("{how}; the model and its key table disagree"),
        }
    }
}
