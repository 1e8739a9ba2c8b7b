//! A model of one weight file, or of several.

use burn::tensor::Device;
use embervec_weights::{KeyTable, TensorReader, WeightDtype, Weights};

use crate::names::{EncoderNames, POOLER};
use crate::{Encoder, EncoderSpec, Error, Result};

/// Takes the weight files of a model, one after the other.
///
/// ```text
/// for each file: reader(path), push its bytes, take(path, reader.finish())
/// finish
/// ```
#[derive(Debug)]
pub struct ModelLoader {
    spec: EncoderSpec,
    table: KeyTable,
    names: EncoderNames,
    dtype: WeightDtype,
    device: Device,
    files_left: usize,
    is_part: bool,
    weights: Weights,
    model: Option<Encoder>,
}

impl ModelLoader {
    /// For a model whose weights are in `files` files.
    pub fn new(spec: EncoderSpec, files: usize, dtype: WeightDtype, device: &Device) -> Self {
        let (table, names) = EncoderNames::record(&spec);
        Self {
            spec,
            table,
            names,
            dtype,
            device: device.clone(),
            files_left: files,
            is_part: files > 1,
            weights: Weights::default(),
            model: None,
        }
    }

    /// Turns it into a packer, whose weights are given as one file, however many there are; see [`KeyTable::pack`].
    pub fn pack(&mut self, table_bits: u32, keeps_pooler: bool) {
        self.table.pack(table_bits, (!keeps_pooler).then_some(POOLER));
        self.is_part = false;
    }

    /// A reader for the file `path`.
    pub fn reader(&self, path: &str) -> TensorReader {
        let reader = TensorReader::new(path, self.table.clone(), self.dtype);
        if self.is_part { reader.part() } else { reader }
    }

    /// Takes the weights of the file `path`. The last file builds the model.
    ///
    /// # Errors
    ///
    /// [`embervec_weights::Error::Tensor`] for a tensor that is missing, or in two files.
    pub fn take(&mut self, path: &str, weights: Weights) -> Result<()> {
        self.weights.merge(path, weights)?;
        self.files_left = self.files_left.saturating_sub(1);
        if self.files_left == 0 {
            self.table.check(path, &self.weights)?;
            let mut weights = std::mem::take(&mut self.weights);
            self.table.chunk(&mut weights);
            let spec = self.spec.clone();
            self.model = Some(Encoder::load(spec, &self.names, weights, &self.device)?);
        }
        Ok(())
    }

    /// The model, once all files have been taken.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] while a file is missing.
    pub fn finish(self) -> Result<Encoder> {
        let left = self.files_left;
        let missing =
            || Error::InvalidInput(format!("{left} weight files of the model are missing"));
        self.model.ok_or_else(missing)
    }
}
