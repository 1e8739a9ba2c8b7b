//! Reading a safetensors file while it arrives, piece by piece.

use std::collections::BTreeMap;

use embervec_kernels::RowQ8;
use half::{bf16, f16};
use safetensors::tensor::Dtype;

use crate::header::{Entry, Header, LENGTH_BYTES, fill_header};
use crate::key_table::{Quantization, Role};
use crate::limits::MAX_UNSEEN_BYTES;
use crate::q8_file::Q8File;
use crate::{Error, KeyTable, Result, WeightDtype, Weights};

/// Takes a safetensors file in pieces of any size and gives its tensors.
///
/// At no time is more in memory than the finished tensors, the rows under way and the header: a
/// file's bytes are decoded, and for [`WeightDtype::Q8`] quantised, as they come. Names, shapes and
/// sizes are checked as soon as the header is complete, before anything is reserved for a tensor. The
/// header also says how long the file is; where the host does not say the same, no more memory is reserved at a time than
/// has come.
#[derive(Debug)]
pub struct TensorReader {
    file: String,
    received: u64,
    table: KeyTable,
    dtype: WeightDtype,
    /// Whether the table's other tensors are in other files.
    is_part: bool,
    /// As the host says.
    file_len: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    Header { bytes: Vec<u8> },
    Tensors(Box<Tensors>),
}

/// The part of a file behind its header.
#[derive(Debug)]
struct Tensors {
    file_len: u64,
    /// Whether the file is known to be as long as that.
    is_long: bool,
    dtype: WeightDtype,
    left: std::vec::IntoIter<(Entry, Role)>,
    current: Option<Current>,
    weights: Weights,
    /// Of tensors that lie quantised in the file: their values, scales and zero points, by name.
    values: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
    scales: BTreeMap<String, Vec<f32>>,
    zero_points: BTreeMap<String, Vec<u8>>,
    converted: Option<Q8File>,
}

/// The tensor whose bytes are arriving.
#[derive(Debug)]
struct Current {
    entry: Entry,
    role: Role,
    bytes_left: usize,
    /// The first bytes of an element that the end of a piece cut in two.
    partial: Vec<u8>,
    sink: Sink,
}

/// What becomes of a tensor's elements.
#[derive(Debug)]
enum Sink {
    Nothing,
    Floats(Vec<f32>),
    /// Rounded; `piece` holds what has just come.
    Halves {
        piece: Vec<f32>,
        values: Vec<f16>,
    },
    /// Quantised row by row.
    Rows {
        row: Vec<f32>,
        columns: usize,
        quantization: Quantization,
        values: Vec<u8>,
        rows: Vec<RowQ8>,
    },
    Bytes(Vec<u8>),
}

impl TensorReader {
    /// A reader for the file `file`, which must hold the tensors of `table`.
    pub fn new(file: impl Into<String>, table: KeyTable, dtype: WeightDtype) -> Self {
        Self {
            file: file.into(),
            received: 0,
            table,
            dtype,
            is_part: false,
            file_len: None,
            state: State::Header { bytes: Vec::new() },
        }
    }

    /// For one of several files that hold the table's tensors together; [`KeyTable::check`] says whether they do.
    #[must_use]
    pub fn part(mut self) -> Self {
        self.is_part = true;
        self
    }

    /// Sets the file's length, if it is known.
    #[must_use]
    pub fn of_length(mut self, file_len: Option<u64>) -> Self {
        self.file_len = file_len;
        self
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Tensor`] as soon as something is wrong; the reader cannot
    /// be used afterwards.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<()> {
        self.received += piece.len() as u64;
        if let State::Header { bytes } = &mut self.state {
            let Some(header_end) = fill_header(bytes, &mut piece)
                .map_err(|problem| Error::Damaged { file: self.file.clone(), problem })?
            else {
                return Ok(());
            };
            let header = Header::parse(&self.file, &bytes[LENGTH_BYTES..header_end])?;
            if let Some(file_len) = self.file_len
                && file_len != header.file_len
            {
                let described = header.file_len;
                return Err(self.damaged(format!(
                    "it has {file_len} bytes, but its header describes {described}"
                )));
            }
            let roles = self.table.resolve(&self.file, &header, self.is_part)?;
            let tensors =
                Tensors::new(&self.file, header, roles, self.dtype, self.file_len.is_some())?;
            self.state = State::Tensors(Box::new(tensors));
        }
        let State::Tensors(tensors) = &mut self.state else { return Ok(()) };
        if self.received > tensors.file_len {
            let file_len = tensors.file_len;
            return Err(self.damaged(format!(
                "it is longer than the {file_len} bytes that its header describes"
            )));
        }
        tensors.push(&self.file, piece)
    }

    /// The next bytes of the file that keeps these weights as this reader quantised them: a
    /// safetensors file of about a quarter of the size, which a reader with the same table takes in
    /// place of the original. Empty if nothing had to be quantised.
    pub fn take_converted(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Tensors(tensors) => {
                tensors.converted.as_mut().map(Q8File::take).unwrap_or_default()
            }
            State::Header { .. } => Vec::new(),
        }
    }

    /// The tensors, once the whole file has been pushed.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when bytes are missing.
    pub fn finish(self) -> Result<Weights> {
        match self.state {
            State::Tensors(tensors) if self.received == tensors.file_len => {
                tensors.finish(&self.file)
            }
            State::Tensors(ref tensors) => Err(self
                .damaged(format!("it ends after {} of {} bytes", self.received, tensors.file_len))),
            State::Header { .. } => Err(self.damaged("it ends within its header".into())),
        }
    }

    fn damaged(&self, problem: String) -> Error {
        Error::Damaged { file: self.file.clone(), problem }
    }
}

impl Tensors {
    fn new(
        file: &str,
        header: Header,
        roles: Vec<Role>,
        dtype: WeightDtype,
        is_long: bool,
    ) -> Result<Self> {
        let tensors: Vec<_> = header.entries.into_iter().zip(roles).collect();
        let is_quantized = tensors.iter().any(|(_, role)| matches!(role, Role::Values { .. }));
        if is_quantized && dtype != WeightDtype::Q8 {
            return Err(Error::Unsupported {
                file: file.into(),
                what: format!("dtype \"{}\" for weights that are stored in 8 bits", dtype.name()),
                supported: "dtype \"q8\"".into(),
            });
        }
        // A part of several may have nothing to quantise, and is kept in the same form all the same.
        let is_converted = dtype == WeightDtype::Q8 && !is_quantized;
        Ok(Self {
            file_len: header.file_len,
            is_long,
            converted: is_converted.then(|| Q8File::new(&tensors)),
            dtype,
            left: tensors.into_iter(),
            current: None,
            weights: Weights::default(),
            values: BTreeMap::new(),
            scales: BTreeMap::new(),
            zero_points: BTreeMap::new(),
        })
    }

    fn push(&mut self, file: &str, mut piece: &[u8]) -> Result<()> {
        loop {
            let mut tensor = match self.current.take() {
                Some(tensor) => tensor,
                None => match self.left.next() {
                    Some((entry, role)) => {
                        Current::new(file, entry, role, self.dtype, self.is_long)?
                    }
                    None => return Ok(()),
                },
            };
            let count = piece.len().min(tensor.bytes_left);
            let (bytes, rest) = piece.split_at(count);
            let before = tensor.quantized().len();
            tensor.push(file, bytes)?;
            if let Some(converted) = &mut self.converted {
                converted.push_values(&tensor.quantized()[before..]);
            }
            piece = rest;
            if tensor.bytes_left > 0 {
                self.current = Some(tensor);
                return Ok(());
            }
            self.take(tensor);
        }
    }

    /// Keeps a tensor that is complete.
    fn take(&mut self, Current { entry, role, sink, .. }: Current) {
        match (role, sink) {
            (Role::Numbers { name, .. }, Sink::Floats(values)) => {
                if let Some(converted) = &mut self.converted {
                    converted.push_floats(&values);
                }
                self.weights.insert(name, entry.shape, values);
            }
            (Role::Numbers { name, .. }, Sink::Halves { values, .. }) => {
                self.weights.insert_f16(name, entry.shape, values);
            }
            (Role::Numbers { name, .. }, Sink::Rows { values, rows, .. }) => {
                if let Some(converted) = &mut self.converted {
                    converted.push_rows(&rows);
                }
                self.weights.insert_q8(name, entry.shape, values, rows);
            }
            (Role::Scale { of }, Sink::Floats(values)) => {
                self.scales.insert(of, values);
            }
            (Role::Values { name, .. }, Sink::Bytes(values)) => {
                self.values.insert(name, (entry.shape, values));
            }
            (Role::ZeroPoint { of }, Sink::Bytes(values)) => {
                self.zero_points.insert(of, values);
            }
            // Skipped.
            _ => {}
        }
        if self.left.len() == 0
            && let Some(converted) = &mut self.converted
        {
            converted.end();
        }
    }

    fn finish(mut self, file: &str) -> Result<Weights> {
        for (name, (shape, values)) in self.values {
            // The key table has seen to it that both are there and as long as the first dimension.
            let scales = self.scales.remove(&name).unwrap_or_default();
            let zero_points = self.zero_points.remove(&name).unwrap_or_default();
            if let Some(scale) = scales.iter().find(|scale| **scale < 0.0) {
                return Err(Error::Tensor {
                    file: file.into(),
                    tensor: format!("{name}_scale"),
                    problem: format!("has the scale {scale}; a scale cannot be negative"),
                });
            }
            let rows = scales.into_iter().zip(zero_points);
            let rows = rows.map(|(scale, zero_point)| RowQ8 { scale, zero_point }).collect();
            self.weights.insert_q8(name, shape, values, rows);
        }
        Ok(self.weights)
    }
}

impl Current {
    fn new(
        file: &str,
        entry: Entry,
        role: Role,
        dtype: WeightDtype,
        is_long: bool,
    ) -> Result<Self> {
        let sink = match (&role, dtype) {
            (Role::Skipped, _) => Sink::Nothing,
            (Role::Numbers { quantization: Some(_), .. }, WeightDtype::Fp16) => {
                Sink::Halves { piece: Vec::new(), values: Vec::new() }
            }
            (Role::Numbers { quantization: Some(quantization), .. }, WeightDtype::Q8) => {
                Sink::Rows {
                    row: Vec::new(),
                    columns: entry.columns(),
                    quantization: *quantization,
                    values: Vec::new(),
                    rows: Vec::new(),
                }
            }
            (Role::Numbers { .. } | Role::Scale { .. }, _) => Sink::Floats(Vec::new()),
            (Role::Values { .. } | Role::ZeroPoint { .. }, _) => Sink::Bytes(Vec::new()),
        };
        let bytes_left = entry.byte_len;
        let mut current = Self { bytes_left, entry, role, partial: Vec::new(), sink };
        if is_long {
            current.reserve(file, current.entry.count())?;
        }
        Ok(current)
    }

    /// Makes room for so many more elements: what has come, or all of them where they are known to come. A failed
    /// allocation would otherwise end the program.
    fn reserve(&mut self, file: &str, more: usize) -> Result<()> {
        let count = self.entry.count();
        let reserved = match &mut self.sink {
            Sink::Nothing => Ok(()),
            Sink::Floats(values) => reserve(values, more, count),
            Sink::Halves { values, .. } => reserve(values, more, count),
            Sink::Rows { values, .. } | Sink::Bytes(values) => reserve(values, more, count),
        };
        reserved.map_err(|bytes| {
            let shape = &self.entry.shape;
            let problem = format!(
                "has shape {shape:?}, but there is not enough memory for its {bytes} bytes"
            );
            self.problem(file, problem)
        })
    }

    /// What has been quantised so far.
    fn quantized(&self) -> &[u8] {
        match &self.sink {
            Sink::Rows { values, .. } => values,
            _ => &[],
        }
    }

    fn push(&mut self, file: &str, mut bytes: &[u8]) -> Result<()> {
        self.bytes_left -= bytes.len();
        let size = (self.entry.dtype.bitsize() / 8).max(1);
        if !matches!(self.sink, Sink::Nothing) {
            self.reserve(file, (self.partial.len() + bytes.len()) / size)?;
        }
        match &mut self.sink {
            Sink::Nothing => return Ok(()),
            Sink::Bytes(values) => {
                let limit = if let Role::Values { max, .. } = self.role { max } else { u8::MAX };
                // Sixteen at a time, where a search for the first one would go byte by byte.
                let largest = bytes.iter().fold(0, |largest, &value| value.max(largest));
                if largest > limit {
                    let problem = format!("has the value {largest}, but the maximum is {limit}");
                    return Err(self.problem(file, problem));
                }
                values.extend_from_slice(bytes);
                return Ok(());
            }
            Sink::Floats(_) | Sink::Halves { .. } | Sink::Rows { .. } => {}
        }
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(size - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < size {
                return Ok(());
            }
            let element = std::mem::take(&mut self.partial);
            self.decode(file, &element)?;
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % size);
        self.decode(file, whole)?;
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Takes whole elements.
    fn decode(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        let dtype = self.entry.dtype;
        match &mut self.sink {
            Sink::Floats(values) => decode(dtype, bytes, values),
            Sink::Halves { piece, values } => {
                piece.clear();
                decode(dtype, bytes, piece);
                let before = values.len();
                values.extend(piece.iter().map(|&value| f16::from_f32(value)));
                if let Some(at) = values[before..].iter().position(|value| !value.is_finite()) {
                    let problem = format!(
                        "element {} is {}; weights must be finite, and dtype \"fp16\" holds at most 65504",
                        before + at,
                        piece[at]
                    );
                    return Err(self.problem(file, problem));
                }
            }
            Sink::Rows { row, columns, quantization, values, rows } => {
                let size = dtype.bitsize() / 8;
                let mut bytes = bytes;
                while !bytes.is_empty() {
                    let missing = (*columns - row.len()) * size;
                    let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                    decode(dtype, part, row);
                    bytes = rest;
                    if row.len() < *columns {
                        break;
                    }
                    if !row.iter().all(|value| value.is_finite()) {
                        let problem = format!(
                            "row {} has a value that is NaN or infinite; weights must be finite",
                            rows.len()
                        );
                        return Err(self.problem(file, problem));
                    }
                    let quantized = quantization.quantize(row, values);
                    if !quantized.scale.is_finite() {
                        let problem = format!(
                            "row {} has values that are too large for 8 bits; use dtype \"fp32\"",
                            rows.len()
                        );
                        return Err(self.problem(file, problem));
                    }
                    rows.push(quantized);
                    row.clear();
                }
            }
            Sink::Nothing | Sink::Bytes(_) => {}
        }
        if let Sink::Floats(values) = &self.sink {
            let new = values.len() - bytes.len() / (dtype.bitsize() / 8)..values.len();
            if let Some(at) = new.clone().find(|&at| !values[at].is_finite()) {
                let problem = format!("element {at} is {}; weights must be finite", values[at]);
                return Err(self.problem(file, problem));
            }
        }
        Ok(())
    }

    fn problem(&self, file: &str, problem: String) -> Error {
        Error::Tensor { file: file.into(), tensor: self.entry.name.clone(), problem }
    }
}

/// Makes room for `more` elements of a vector that will have `count`; else gives the bytes that there is no memory for.
fn reserve<T>(values: &mut Vec<T>, more: usize, count: usize) -> std::result::Result<(), u64> {
    let needed = values.len() + more;
    if needed <= values.capacity() {
        return Ok(());
    }
    // Twice what there is, so that little is moved.
    let capacity = needed.max(2 * values.capacity()).max(MAX_UNSEEN_BYTES / size_of::<T>());
    let capacity = capacity.min(count.max(needed));
    values
        .try_reserve_exact(capacity - values.len())
        .map_err(|_| count as u64 * size_of::<T>() as u64)
}

/// Appends whole elements.
fn decode(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    match dtype {
        Dtype::F32 => {
            let elements = bytes.as_chunks().0.iter();
            values.extend(elements.map(|&element| f32::from_le_bytes(element)));
        }
        Dtype::F16 => {
            let elements = bytes.as_chunks().0.iter();
            values.extend(elements.map(|&element| f16::from_le_bytes(element).to_f32()));
        }
        // As torch casts them: to the nearest.
        Dtype::F64 => {
            let elements = bytes.as_chunks().0.iter();
            values.extend(elements.map(|&element| f64::from_le_bytes(element) as f32));
        }
        // Numbers of rows, of which none is so large that it would be rounded.
        Dtype::I64 => {
            let elements = bytes.as_chunks().0.iter();
            values.extend(elements.map(|&element| i64::from_le_bytes(element) as f32));
        }
        Dtype::I32 => {
            let elements = bytes.as_chunks().0.iter();
            values.extend(elements.map(|&element| i32::from_le_bytes(element) as f32));
        }
        // The key table lets only these dtypes through.
        _ => {
            let elements = bytes.as_chunks().0.iter();
            values.extend(elements.map(|&element| bf16::from_le_bytes(element).to_f32()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Values;

    /// The bytes of a file with this header and `data_len` zero bytes.
    fn file(header: &str, data_len: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data_len, 0);
        bytes
    }

    fn table() -> KeyTable {
        let mut table = KeyTable::new("");
        table.require("a", &[2, 2]);
        table.require("b", &[3]);
        table
    }

    fn read(bytes: &[u8]) -> Result<Weights> {
        let mut reader = TensorReader::new("model.safetensors", table(), WeightDtype::Fp32);
        reader.push(bytes)?;
        reader.finish()
    }

    const A: &str = r#""a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}"#;
    const B: &str = r#""b": {"dtype": "F16", "shape": [3], "data_offsets": [16, 22]}"#;

    #[test]
    fn pieces_of_any_size_give_the_same_tensors() {
        let mut bytes = file(&format!("{{{A}, {B}}}"), 0);
        for value in [1.0f32, -2.5, 1e-30, 3.0] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        for value in [0.5, -8.0, 0.25] {
            bytes.extend_from_slice(&f16::from_f32(value).to_le_bytes());
        }
        for size in 1..bytes.len() {
            let mut reader = TensorReader::new("model.safetensors", table(), WeightDtype::Fp32);
            for piece in bytes.chunks(size) {
                reader.push(piece).expect("valid");
            }
            let weights = reader.finish().expect("complete");
            let a = Values::F32(vec![1.0, -2.5, 1e-30, 3.0]);
            let b = Values::F32(vec![0.5, -8.0, 0.25]);
            assert_eq!(weights.get("a"), Some((&[2, 2][..], &a)));
            assert_eq!(weights.get("b"), Some((&[3][..], &b)));
        }
    }

    #[test]
    fn a_header_that_lies_is_refused_by_name() {
        let cases: &[(&str, String, &str)] = &[
            (
                "offsets outside the file",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [3], "data_offsets": [116, 122]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "overlap",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [3], "data_offsets": [10, 16]}}}}"#
                ),
                "overlap",
            ),
            (
                "offsets reversed",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [3], "data_offsets": [22, 16]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "size against shape",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [4], "data_offsets": [16, 22]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "10 GB",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [5000000000], "data_offsets": [16, 10000000016]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "overflow",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [18446744073709551615, 2], "data_offsets": [16, 22]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "unknown dtype",
                format!(
                    r#"{{{A}, "b": {{"dtype": "Q3", "shape": [3], "data_offsets": [16, 22]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "integer dtype",
                format!(
                    r#"{{{A}, "b": {{"dtype": "I16", "shape": [3], "data_offsets": [16, 22]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "wrong shape",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [1, 3], "data_offsets": [16, 22]}}}}"#
                ),
                "\"b\"",
            ),
            (
                "missing",
                r#"{"b": {"dtype": "F16", "shape": [3], "data_offsets": [0, 6]}}"#.into(),
                "\"a\"",
            ),
            ("duplicate", format!("{{{A}, {A}, {B}}}"), "\"a\""),
            ("not an object", "[1, 2]".into(), "header"),
            ("not JSON", "{".into(), "header"),
            (
                "negative",
                format!(
                    r#"{{{A}, "b": {{"dtype": "F16", "shape": [-3], "data_offsets": [16, 22]}}}}"#
                ),
                "\"b\"",
            ),
        ];
        for (what, header, word) in cases {
            let data_len = if *what == "missing" { 6 } else { 22 };
            let error = read(&file(header, data_len)).expect_err(what);
            assert!(error.to_string().contains(word), "{what}: {error}");
            assert!(error.to_string().contains("model.safetensors"), "{what}: {error}");
        }
    }

    #[test]
    fn a_length_field_that_lies_reserves_nothing() {
        for length in [u64::MAX, 10_000_000_000, 23] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.resize(30, b' ');
            assert!(matches!(read(&bytes), Err(Error::Damaged { .. })), "{length}");
        }
        assert!(matches!(read(b""), Err(Error::Damaged { .. })));
        let mut reader = TensorReader::new("model.safetensors", table(), WeightDtype::Fp32);
        let error = reader.push(b"<!doctyp").expect_err("a web page");
        assert!(error.to_string().contains("not a safetensors file"), "{error}");
    }

    #[test]
    fn more_than_the_memory_is_refused_by_name() {
        let mut table = KeyTable::new("");
        table.require("a", &[1 << 58]);
        let header = format!(
            r#"{{"a": {{"dtype": "F16", "shape": [{}], "data_offsets": [0, {}]}}}}"#,
            1u64 << 58,
            1u64 << 59
        );
        let bytes = file(&header, 8);
        let reader = TensorReader::new("model.safetensors", table, WeightDtype::Fp32);
        let file_len = (bytes.len() - 8) as u64 + (1 << 59);
        let mut reader = reader.of_length(Some(file_len));
        let error = reader.push(&bytes).expect_err("no machine has it").to_string();
        assert!(error.contains("\"a\"") && error.contains("1152921504606846976 bytes"), "{error}");
    }

    #[test]
    fn no_more_is_reserved_than_has_come_where_the_length_is_not_known() {
        let mut table = KeyTable::new("");
        table.require("a", &[1 << 28]);
        let header = format!(
            r#"{{"a": {{"dtype": "F16", "shape": [{}], "data_offsets": [0, {}]}}}}"#,
            1 << 28,
            1 << 29
        );
        let bytes = file(&header, 8 << 20);
        let mut reader = TensorReader::new("model.safetensors", table.clone(), WeightDtype::Fp32);
        bytes.chunks(1 << 19).for_each(|piece| reader.push(piece).expect("a beginning"));
        let State::Tensors(tensors) = &reader.state else { panic!("the header is complete") };
        let Some(Current { sink: Sink::Floats(values), .. }) = &tensors.current else {
            panic!("the tensor has begun")
        };
        assert_eq!(values.len(), 4 << 20);
        assert!(values.capacity() <= 8 << 20, "{}", values.capacity());

        let reader = TensorReader::new("model.safetensors", table, WeightDtype::Fp32);
        let error = reader.of_length(Some(bytes.len() as u64)).push(&bytes);
        let error = error.expect_err("another length").to_string();
        assert!(error.contains("but its header describes 536870"), "{error}");
    }

    #[test]
    fn what_is_not_wanted_is_skipped_or_refused() {
        let header = format!(
            r#"{{{A}, {B}, "classifier.weight": {{"dtype": "I64", "shape": [1], "data_offsets": [22, 30]}}}}"#
        );
        let bytes = file(&header, 30);
        let weights = read(&bytes).expect("as transformers reads it");
        assert!(!weights.contains("classifier.weight"));
        let mut reader =
            TensorReader::new("model.safetensors", table().strict(), WeightDtype::Fp32);
        let error = reader.push(&bytes).expect_err("a module has no other tensors").to_string();
        assert!(error.contains("\"classifier.weight\""), "{error}");
    }

    #[test]
    fn parts_are_one_when_nothing_is_missing_or_doubled() {
        let read = |name: &str, header: &str, data_len| {
            let mut reader = TensorReader::new(name, table(), WeightDtype::Fp32).part();
            reader.push(&file(&format!("{{{header}}}"), data_len)).expect("valid");
            reader.finish().expect("complete")
        };
        let b = r#""b": {"dtype": "F16", "shape": [3], "data_offsets": [0, 6]}"#;
        let (mut first, second) = (read("1", A, 16), read("2", b, 6));
        let error = table().check("index", &first).expect_err("half of it").to_string();
        assert!(error.contains("index") && error.contains("\"b\""), "{error}");
        first.merge("2", second).expect("other tensors");
        table().check("index", &first).expect("complete");
        assert!(first.merge("3", read("3", b, 6)).is_err());

        let headers = [(A, 16), (b, 6)].map(|(header, data_len)| {
            let json = format!("{{{header}}}");
            let header = Header::parse("part", json.as_bytes()).expect("valid");
            assert_eq!(header.file_len, (8 + json.len() + data_len) as u64);
            header
        });
        let mut whole = crate::merge_headers(&headers);
        whole.resize(whole.len() + 22, 0);
        super::tests::read(&whole).expect("one file");
    }

    #[test]
    fn doubles_are_rounded_as_torch_rounds_them() {
        let mut table = KeyTable::new("");
        table.require("a", &[3]);
        let header = r#"{"a": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]}}"#;
        let read = |values: [f64; 3]| {
            let mut bytes = file(header, 0);
            bytes.extend(values.map(f64::to_le_bytes).concat());
            let mut reader =
                TensorReader::new("model.safetensors", table.clone(), WeightDtype::Fp32);
            bytes.chunks(5).try_for_each(|piece| reader.push(piece))?;
            reader.finish()
        };
        let weights = read([0.1, -1.0 / 3.0, 1e-50]).expect("valid");
        let values = weights.get("a").map(|(_, values)| values.clone());
        assert_eq!(values, Some(Values::F32(vec![0.1, -1.0 / 3.0, 0.0])));
        assert!(read([0.0, 1e39, 0.0]).is_err(), "beyond f32");
    }

    #[test]
    fn weights_too_far_apart_for_8_bits_are_refused() {
        for how in [Quantization::Linear, Quantization::TABLE] {
            let mut table = KeyTable::new("");
            table.require_matrix("a", [1, 4], how);
            let header = r#"{"a": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}}"#;
            let mut bytes = file(header, 0);
            bytes.extend([3e38f32, -3e38, 1.0, 0.0].map(f32::to_le_bytes).concat());
            let mut reader = TensorReader::new("model.safetensors", table, WeightDtype::Q8);
            let error = reader.push(&bytes).expect_err("too large").to_string();
            assert!(error.contains("\"a\"") && error.contains("8 bits"), "{error}");
        }
    }

    #[test]
    fn a_pointer_of_git_lfs_says_what_to_do() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n";
        let error = read(pointer).expect_err("a pointer").to_string();
        assert!(error.contains("git lfs pull"), "{error}");
    }

    #[test]
    fn a_file_that_is_cut_off_or_too_long_is_refused() {
        let whole = file(&format!("{{{A}, {B}}}"), 22);
        read(&whole).expect("the whole file is fine");
        for len in 0..whole.len() {
            let mut reader = TensorReader::new("model.safetensors", table(), WeightDtype::Fp32);
            reader.push(&whole[..len]).expect("a beginning is fine");
            assert!(matches!(reader.finish(), Err(Error::Damaged { .. })), "{len}");
        }
        let mut reader = TensorReader::new("model.safetensors", table(), WeightDtype::Fp32);
        reader.push(&whole).expect("fine");
        let error = reader.push(&[0]).expect_err("one more").to_string();
        assert!(error.contains(&format!("longer than the {} bytes", whole.len())), "{error}");
    }

    #[test]
    fn weights_that_are_not_numbers_are_refused_by_name() {
        let mut bytes = file(&format!("{{{A}, {B}}}"), 22);
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&f16::INFINITY.to_le_bytes());
        let error = read(&bytes).expect_err("infinite");
        assert!(error.to_string().contains("\"b\""), "{error}");
    }

    #[test]
    fn fp16_rounds_what_it_can_hold() {
        let mut table = KeyTable::new("");
        table.require_matrix("linear", [2, 2], Quantization::Linear);
        table.require("bias", &[1]);
        let header = r#"{"linear": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "bias": {"dtype": "F32", "shape": [1], "data_offsets": [16, 20]}}"#;
        let read = |last: f32, size: usize| {
            let mut bytes = file(header, 0);
            bytes.extend(
                [1.0, 1.0 / 3.0, -65504.0, last, 1.0 / 3.0f32].map(f32::to_le_bytes).concat(),
            );
            let mut reader =
                TensorReader::new("model.safetensors", table.clone(), WeightDtype::Fp16);
            bytes.chunks(size).try_for_each(|piece| reader.push(piece))?;
            assert!(reader.take_converted().is_empty(), "the file is kept as it is");
            reader.finish()
        };
        for size in [1, 3, 64, 1000] {
            let weights = read(2.0, size).expect("valid");
            let halves = [1.0, 0.333_251_95, -65504.0, 2.0].map(f16::from_f32);
            let linear = weights.get("linear").map(|(_, values)| values.clone());
            assert_eq!(linear, Some(Values::F16(halves.to_vec())));
            let bias = weights.get("bias").map(|(_, values)| values.clone());
            assert_eq!(bias, Some(Values::F32(vec![1.0 / 3.0])));
        }
        let error = read(1e5, 64).expect_err("too large").to_string();
        assert!(error.contains("linear") && error.contains("element 3 is 100000"), "{error}");
        assert!(read(f32::NAN, 64).is_err());
    }

    #[test]
    fn the_converted_file_gives_the_same_weights() {
        let mut table = KeyTable::new("bert.");
        table.require_matrix("linear", [3, 8], Quantization::Linear);
        table.require_matrix("table", [2, 4], Quantization::TABLE);
        table.require("bias", &[3]);
        let header = r#"{"table": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]},
            "bias": {"dtype": "F32", "shape": [3], "data_offsets": [32, 44]},
            "bert.linear": {"dtype": "F16", "shape": [3, 8], "data_offsets": [44, 92]}}"#;
        let mut bytes = file(header, 0);
        bytes.extend((0..11).flat_map(|i| (i as f32 * 0.7 - 3.0).to_le_bytes()));
        bytes.extend((0..24).flat_map(|i| f16::from_f32((i * 5 % 11) as f32 - 4.0).to_le_bytes()));

        let read = |bytes: &[u8], size: usize| {
            let mut reader = TensorReader::new("model.safetensors", table.clone(), WeightDtype::Q8);
            let mut converted = Vec::new();
            for piece in bytes.chunks(size) {
                reader.push(piece).expect("valid");
                converted.extend(reader.take_converted());
            }
            (reader.finish().expect("complete"), converted)
        };
        let (weights, converted) = read(&bytes, bytes.len());
        assert!(matches!(weights.get("linear"), Some((_, Values::Q8 { .. }))));
        assert!(matches!(weights.get("bias"), Some((_, Values::F32(_)))));
        for size in 1..bytes.len() {
            assert_eq!(read(&bytes, size).1, converted);
        }
        safetensors::SafeTensors::deserialize(&converted).expect("a safetensors file");
        let (again, nothing) = read(&converted, 5);
        assert!(nothing.is_empty(), "it is kept as it is");
        for name in ["linear", "table", "bias"] {
            assert_eq!(again.get(name), weights.get(name), "{name}");
        }

        let mut reader = TensorReader::new("model.safetensors", table.clone(), WeightDtype::Fp32);
        assert!(matches!(reader.push(&converted), Err(Error::Unsupported { .. })));

        // A value of more than 7 bits would be wrong on some machines only.
        let mut broken = converted;
        let values = broken.len() - (8 + 24 + 4 * (2 + 3 + 3) + 2 + 3);
        broken[values + 8] = 128;
        let mut reader = TensorReader::new("model.safetensors", table.clone(), WeightDtype::Q8);
        let error = reader.push(&broken).expect_err("8 bits");
        assert!(error.to_string().contains("\"linear\""), "{error}");
    }
}
