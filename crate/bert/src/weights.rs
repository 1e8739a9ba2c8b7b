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
            Error::InvalidInput(format!(
                "dtype \"{name}\" does not exist; there are: fp32, fp16, q8"
            ))
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

/// The decoded tensors of a weight file, each to be taken once.
#[derive(Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, (Vec<usize>, Values)>,
    quantized: bool,
}

/// The elements of a tensor, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Q8 {
        values: Vec<u8>,
        /// One for each index of the first dimension.
        rows: Vec<RowQ8>,
    },
}

impl Values {
    /// Multiplies what they stand for.
    pub fn scale(&mut self, factor: f32) {
        match self {
            Self::F32(values) => values.iter_mut().for_each(|x| *x *= factor),
            Self::F16(values) => {
                values.iter_mut().for_each(|x| *x = f16::from_f32(x.to_f32() * factor));
            }
            Self::Q8 { rows, .. } => rows.iter_mut().for_each(|row| row.scale *= factor),
        }
    }

    /// Appends rows of the same kind.
    pub fn append(&mut self, other: Self) -> std::result::Result<(), &'static str> {
        match (self, other) {
            (Self::F32(values), Self::F32(mut more)) => values.append(&mut more),
            (Self::F16(values), Self::F16(mut more)) => values.append(&mut more),
            (
                Self::Q8 { values, rows },
                Self::Q8 { values: mut more_values, rows: mut more_rows },
            ) => {
                values.append(&mut more_values);
                rows.append(&mut more_rows);
            }
            _ => return Err("has another dtype than its neighbours"),
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

    /// Whether linear layers have 8-bit weights.
    pub(crate) fn are_quantized(&self) -> bool {
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
    pub(crate) fn take<const D: usize>(&mut self, name: &str) -> Result<([usize; D], Values)> {
        let (shape, values) =
            self.tensors.remove(name).ok_or_else(|| disagree(name, "is not in the key table"))?;
        let shape = shape.try_into().map_err(|_| disagree(name, "has another rank"))?;
        Ok((shape, values))
    }

    /// As [`Weights::take`], for what is always `f32`.
    pub(crate) fn take_f32<const D: usize>(
        &mut self,
        name: &str,
    ) -> Result<([usize; D], Vec<f32>)> {
        match self.take(name)? {
            (shape, Values::F32(values)) => Ok((shape, values)),
            (_, Values::F16(_) | Values::Q8 { .. }) => Err(disagree(name, "is not f32")),
        }
    }

    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<(&[usize], &Values)> {
        self.tensors.get(name).map(|(shape, values)| (&shape[..], values))
    }
}

pub(crate) fn disagree(name: &str, how: &str) -> Error {
    Error::Tensor {
        file: "model".into(),
        tensor: name.into(),
        problem: format!("{how}; the model and its key table disagree"),
    }
}
