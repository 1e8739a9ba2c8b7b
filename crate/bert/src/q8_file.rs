//! Weights in 8 bits as a safetensors file.
//!
//! A quantised tensor `t` of `[rows, columns]` is three tensors: `t` (U8, same shape), `t_scale`
//! (F32, `[rows]`) and `t_zero_point` (U8, `[rows]`), and stands for
//! `t_scale · (t − t_zero_point)`; the weights of linear layers are rotated on top
//! ([`embervec_kernels::quantize_weights`]). All values come first, in the order in which the original has
//! them, then everything in F32, then the zero points: so the file can be written while the
//! original is read, with little held back, and every tensor is aligned to its elements where the
//! numbers of values are multiples of 4.

use embervec_kernels::RowQ8;
use safetensors::tensor::Dtype;

use crate::keys::Role;
use crate::safetensors::{Entry, write_header};

/// The bytes of such a file, written from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Q8File {
    ready: Vec<u8>,
    floats: Vec<u8>,
    zero_points: Vec<u8>,
}

impl Q8File {
    /// A file for these tensors, of which those with `quantization` are quantised.
    pub fn new(tensors: &[(Entry, Role)]) -> Self {
        let (mut values, mut floats, mut zero_points) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, role) in tensors {
            let Role::Floats { name, quantization } = role else { continue };
            if quantization.is_none() {
                floats.push((name.clone(), Dtype::F32, entry.shape.clone()));
                continue;
            }
            let rows = vec![entry.shape[0]];
            values.push((name.clone(), Dtype::U8, entry.shape.clone()));
            floats.push((format!("{name}_scale"), Dtype::F32, rows.clone()));
            zero_points.push((format!("{name}_zero_point"), Dtype::U8, rows));
        }
        let metadata = serde_json::json!({
            "format": "pt",
            "quantization": "per row: t = t_scale * (t - t_zero_point). Linear weights are 0..=127 and have been rotated: multiply each block of 32 values 4 apart by the Hadamard matrix (unnormalised, Sylvester's order) to restore them",
        });
        let tensors = values.into_iter().chain(floats).chain(zero_points);
        Self { ready: write_header(tensors, metadata), floats: Vec::new(), zero_points: Vec::new() }
    }

    /// The next values of the quantised tensor under way.
    pub fn push_values(&mut self, values: &[u8]) {
        self.ready.extend_from_slice(values);
    }

    /// The scales and zero points of a quantised tensor.
    pub fn push_rows(&mut self, rows: &[RowQ8]) {
        self.floats.extend(rows.iter().flat_map(|row| row.scale.to_le_bytes()));
        self.zero_points.extend(rows.iter().map(|row| row.zero_point));
    }

    /// A tensor that is not quantised.
    pub fn push_floats(&mut self, values: &[f32]) {
        self.floats.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// After the last tensor.
    pub fn end(&mut self) {
        self.ready.append(&mut self.floats);
        self.ready.append(&mut self.zero_points);
    }

    /// The bytes that are complete, each once.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready)
    }
}
