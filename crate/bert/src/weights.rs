//! Tensors by name, on their way from a file into a model.

use std::collections::BTreeMap;

use embervec_kernels::RowQ8;

use crate::{Error, Result};

/// How the weights of linear layers and embedding tables are kept. Everything else (biases, layer
/// norms, token types) is always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightDtype {
    /// As they are; 16-bit floats become 32-bit ones.
    #[default]
    Fp32,
    /// Linear layers in 7 bits, tables in 8, with a scale and a zero point per row.
    Q8,
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
            Self::Q8 { rows, .. } => rows.iter_mut().for_each(|row| row.scale *= factor),
        }
    }

    /// Appends rows of the same kind.
    pub fn append(&mut self, other: Self) -> std::result::Result<(), &'static str> {
        match (self, other) {
            (Self::F32(values), Self::F32(mut more)) => values.append(&mut more),
            (
                Self::Q8 { values, rows },
                Self::Q8 { values: mut more_values, rows: mut more_rows },
            ) => {
                values.append(&mut more_values);
                rows.append(&mut more_rows);
            }
            _ => return Err("is quantised unlike its neighbours"),
        }
        Ok(())
    }
}

impl Weights {
    pub(crate) fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.tensors.insert(name, (shape, Values::F32(values)));
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

    /// As [`Weights::take`], for what is never quantised.
    pub(crate) fn take_f32<const D: usize>(
        &mut self,
        name: &str,
    ) -> Result<([usize; D], Vec<f32>)> {
        match self.take(name)? {
            (shape, Values::F32(values)) => Ok((shape, values)),
            (_, Values::Q8 { .. }) => Err(disagree(name, "is quantised")),
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
