//! Tensors by name, on their way from a file into a model.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::{Error, Result};

/// The decoded tensors of a weight file, each to be [taken](Weights::take) once.
#[derive(Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    pub(crate) fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.tensors.insert(name, (shape, values));
    }

    /// Whether a tensor of this name is still there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Moves a tensor out and onto the device.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] when it is not there or has another rank. A [`crate::TensorReader`] has
    /// compared names and shapes with the key table, so this means that the table and the model
    /// disagree.
    pub fn take<const D: usize>(
        &mut self,
        name: &str,
        device: &Device,
    ) -> Result<Param<Tensor<D>>> {
        let problem =
            |problem: String| Error::Tensor { file: "model".into(), tensor: name.into(), problem };
        let (shape, values) = self
            .tensors
            .remove(name)
            .ok_or_else(|| problem("is needed by the model, but not in the key table".into()))?;
        if shape.len() != D {
            return Err(problem(format!("has {} dimensions, the model needs {D}", shape.len())));
        }
        Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device)))
    }

    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        self.tensors.get(name).map(|(shape, values)| (&shape[..], &values[..]))
    }
}
