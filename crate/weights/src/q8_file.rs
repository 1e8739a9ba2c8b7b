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

use crate::header::{Entry, write_header};
use crate::key_table::{Quantization, Role};

/// What the metadata calls this form of file.
const VERSION: &str = "q8-1";

/// In the metadata: all that is needed to have the weights back in 32 bits.
const RECIPE: &str = "A matrix t of U8 [rows, columns] with t_scale [rows] and t_zero_point [rows] \
    stands for w = t_scale * (t - t_zero_point), row by row. The matrices that \"tables\" names are that w. All \
    other U8 matrices hold 0..=127 and are rotated: let B be the largest power of two up to 32 that divides columns / 4 (1 if columns is not a \
    multiple of 4); reshape w to [rows, columns / (4 * B), B, 4] and multiply it along the axis of B by \
    the Hadamard matrix of order B in Sylvester's construction, entries 1 and -1, to restore the \
    weights. F32 tensors that are no t_scale are as they were.";

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
        let mut tables = Vec::new();
        for (entry, role) in tensors {
            let Role::Numbers { name, quantization } = role else { continue };
            if quantization.is_none() {
                floats.push((name.clone(), Dtype::F32, entry.shape.clone()));
                continue;
            }
            if matches!(quantization, Some(Quantization::Table { .. })) {
                tables.push(&**name);
            }
            let rows = vec![entry.shape[0]];
            values.push((name.clone(), Dtype::U8, entry.shape.clone()));
            floats.push((format!("{name}_scale"), Dtype::F32, rows.clone()));
            zero_points.push((format!("{name}_zero_point"), Dtype::U8, rows));
        }
        let metadata = serde_json::json!({
            "format": "pt",
            "embervec": VERSION,
            "quantization": RECIPE,
            "tables": tables.join(", "),
        });
        let tensors = values.into_iter().chain(floats).chain(zero_points);
        Self { ready: write_header(tensors, metadata), floats: Vec::new(), zero_points: Vec::new() }
    }

    /// Adds the next values of the current quantised tensor.
    pub fn push_values(&mut self, values: &[u8]) {
        self.ready.extend_from_slice(values);
    }

    /// Adds the scales and zero points of a quantised tensor.
    pub fn push_rows(&mut self, rows: &[RowQ8]) {
        self.floats.extend(rows.iter().flat_map(|row| row.scale.to_le_bytes()));
        self.zero_points.extend(rows.iter().map(|row| row.zero_point));
    }

    /// Adds a tensor that is not quantised.
    pub fn push_floats(&mut self, values: &[f32]) {
        self.floats.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Ends the file after the last tensor.
    pub fn end(&mut self) {
        self.ready.append(&mut self.floats);
        self.ready.append(&mut self.zero_points);
    }

    /// Takes the bytes that are complete.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready)
    }
}
