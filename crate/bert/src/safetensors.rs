//! Reading a safetensors file while it arrives, piece by piece.
//!
//! Format: <https://huggingface.co/docs/safetensors/index#format>: 8 bytes of little-endian header
//! length, a JSON header, then the tensors' bytes. The crate `safetensors` wants the whole file in
//! memory at once and reports errors without the tensor's name; a browser tab has room for neither
//! the file and the model side by side, nor for guessing. Its types are used for the header.

use std::collections::BTreeMap;
use std::fmt;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};
use serde::Deserialize as _;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::{Error, KeyTable, Result, Weights};

/// As in the crate `safetensors`; the header of BERT-large takes 40 kB.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const LENGTH_BYTES: usize = 8;

/// A file's header: what lies where.
#[derive(Debug)]
pub(crate) struct Header {
    /// In the order of their bytes, which follow each other without a gap.
    pub entries: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    dtype: Dtype,
    byte_len: usize,
}

impl Header {
    /// Parses the JSON and checks it against the file's size: every tensor's bytes follow from its
    /// shape, and together they fill the file exactly.
    fn parse(file: &str, json: &[u8], file_len: u64) -> Result<Self> {
        let damaged = |problem: String| Error::Damaged { file: file.into(), problem };
        let RawHeader(raw) = serde_json::from_slice(json)
            .map_err(|error| damaged(format!("its header is not a list of tensors: {error}")))?;

        let mut entries = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            if name == "__metadata__" {
                continue;
            }
            let problem = |problem: String| Error::Tensor {
                file: file.into(),
                tensor: name.clone(),
                problem,
            };
            let info = TensorInfo::deserialize(value)
                .map_err(|error| problem(format!("its header entry is invalid: {error}")))?;
            let (begin, end) = info.data_offsets;
            // In 64 bits: in wasm a tensor that fits may have more bits than `usize` counts.
            let byte_len = info
                .shape
                .iter()
                .try_fold(info.dtype.bitsize() as u64, |bits, &size| bits.checked_mul(size as u64))
                .and_then(|bits| usize::try_from(bits / 8).ok())
                .ok_or_else(|| {
                    problem(format!("shape {:?} is too large for this machine", info.shape))
                })?;
            if end.checked_sub(begin) != Some(byte_len) {
                return Err(problem(format!(
                    "data_offsets {begin}..{end} do not hold shape {:?} of {:?} ({byte_len} bytes)",
                    info.shape, info.dtype
                )));
            }
            entries.push((begin, Entry { name, shape: info.shape, dtype: info.dtype, byte_len }));
        }
        entries.sort_by_key(|(begin, entry)| (*begin, entry.byte_len));

        let mut expected_begin = 0;
        for (begin, entry) in &entries {
            if *begin != expected_begin {
                let fault = if *begin < expected_begin { "overlap" } else { "leave a gap after" };
                return Err(Error::Tensor {
                    file: file.into(),
                    tensor: entry.name.clone(),
                    problem: format!(
                        "data_offsets begin at {begin} and {fault} the tensor before, which ends at {expected_begin}"
                    ),
                });
            }
            expected_begin += entry.byte_len;
        }
        let described = (LENGTH_BYTES + json.len()) as u64 + expected_begin as u64;
        if described != file_len {
            return Err(damaged(format!(
                "its header describes {described} bytes, but the file has {file_len}"
            )));
        }
        Ok(Self { entries: entries.into_iter().map(|(_, entry)| entry).collect() })
    }
}

/// The header as an ordered list, so that a name that occurs twice is seen.
struct RawHeader(Vec<(String, serde_json::Value)>);

impl<'de> serde::Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> std::result::Result<RawHeader, M::Error> {
                let mut entries: BTreeMap<String, serde_json::Value> = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, _>()? {
                    if entries.contains_key(&name) {
                        return Err(serde::de::Error::custom(format!(
                            "tensor \"{name}\" occurs twice"
                        )));
                    }
                    entries.insert(name, value);
                }
                Ok(RawHeader(entries.into_iter().collect()))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Takes a safetensors file in pieces of any size and gives its tensors as `f32`.
///
/// At no time is more in memory than the finished tensors, the one under way and the header: a
/// file's bytes are decoded as they come. Names, shapes and sizes are checked as soon as the header
/// is complete, before anything is reserved for a tensor.
#[derive(Debug)]
pub struct TensorReader {
    file: String,
    file_len: u64,
    received: u64,
    table: KeyTable,
    weights: Weights,
    state: State,
}

#[derive(Debug)]
enum State {
    Header { bytes: Vec<u8> },
    Tensors { left: std::vec::IntoIter<(Entry, Option<String>)>, current: Option<Current> },
}

/// The tensor whose bytes are arriving.
#[derive(Debug)]
struct Current {
    entry: Entry,
    /// `None`: its bytes are skipped.
    name: Option<String>,
    bytes_left: usize,
    /// The first bytes of an element that the end of a piece cut in two.
    partial: Vec<u8>,
    values: Vec<f32>,
}

impl TensorReader {
    /// A reader for `file_len` bytes of the file `file`, which must hold the tensors of `table`.
    pub fn new(file: impl Into<String>, file_len: u64, table: KeyTable) -> Self {
        Self {
            file: file.into(),
            file_len,
            received: 0,
            table,
            weights: Weights::default(),
            state: State::Header { bytes: Vec::new() },
        }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Tensor`] as soon as something does not fit; the reader is of
    /// no use afterwards.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<()> {
        self.received += piece.len() as u64;
        if self.received > self.file_len {
            return Err(
                self.damaged(format!("more than the announced {} bytes came", self.file_len))
            );
        }
        if let State::Header { bytes } = &mut self.state {
            let Some(header_end) = fill_header(bytes, &mut piece, self.file_len)
                .map_err(|problem| Error::Damaged { file: self.file.clone(), problem })?
            else {
                return Ok(());
            };
            let header =
                Header::parse(&self.file, &bytes[LENGTH_BYTES..header_end], self.file_len)?;
            let names = self.table.resolve(&self.file, &header)?;
            let tensors: Vec<_> = header.entries.into_iter().zip(names).collect();
            for (entry, name) in &tensors {
                if name.is_some() && !is_float(entry.dtype) {
                    return Err(Error::Tensor {
                        file: self.file.clone(),
                        tensor: entry.name.clone(),
                        problem: format!(
                            "dtype {:?} is not supported; supported: F32, F16, BF16",
                            entry.dtype
                        ),
                    });
                }
            }
            self.state = State::Tensors { left: tensors.into_iter(), current: None };
        }
        self.push_tensor_bytes(piece)
    }

    fn push_tensor_bytes(&mut self, mut piece: &[u8]) -> Result<()> {
        let State::Tensors { left, current } = &mut self.state else { return Ok(()) };
        loop {
            let mut tensor = match current.take() {
                Some(tensor) => tensor,
                None => match left.next() {
                    Some((entry, name)) => Current::new(entry, name),
                    None => return Ok(()),
                },
            };
            let count = piece.len().min(tensor.bytes_left);
            let (bytes, rest) = piece.split_at(count);
            tensor.push(bytes);
            piece = rest;
            if tensor.bytes_left > 0 {
                *current = Some(tensor);
                return Ok(());
            }
            tensor.finish(&self.file, &mut self.weights)?;
        }
    }

    /// The tensors, once the whole file has been pushed.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when bytes are missing.
    pub fn finish(self) -> Result<Weights> {
        if self.received != self.file_len {
            return Err(
                self.damaged(format!("it ends after {} of {} bytes", self.received, self.file_len))
            );
        }
        match self.state {
            State::Tensors { .. } => Ok(self.weights),
            State::Header { .. } => Err(self.damaged("it ends within its header".into())),
        }
    }

    fn damaged(&self, problem: String) -> Error {
        Error::Damaged { file: self.file.clone(), problem }
    }
}

/// Moves bytes from `piece` to `bytes` until these are the length field and the whole header;
/// gives the header's end once they are.
fn fill_header(
    bytes: &mut Vec<u8>,
    piece: &mut &[u8],
    file_len: u64,
) -> std::result::Result<Option<usize>, String> {
    let mut take_until = |bytes: &mut Vec<u8>, len: usize| {
        let (taken, rest) = piece.split_at(piece.len().min(len.saturating_sub(bytes.len())));
        bytes.extend_from_slice(taken);
        *piece = rest;
        bytes.len() >= len
    };
    if !take_until(bytes, LENGTH_BYTES) {
        return Ok(None);
    }
    let mut length = [0; LENGTH_BYTES];
    length.copy_from_slice(&bytes[..LENGTH_BYTES]);
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > file_len.saturating_sub(LENGTH_BYTES as u64) {
        return Err(format!(
            "its first 8 bytes announce a header of {length} bytes, but the file has {file_len}; it is not a safetensors file"
        ));
    }
    let header_end = LENGTH_BYTES + length as usize;
    Ok(take_until(bytes, header_end).then_some(header_end))
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

impl Current {
    fn new(entry: Entry, name: Option<String>) -> Self {
        let count = if name.is_some() { entry.shape.iter().product() } else { 0 };
        Self {
            bytes_left: entry.byte_len,
            entry,
            name,
            partial: Vec::new(),
            values: Vec::with_capacity(count),
        }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        self.bytes_left -= bytes.len();
        if self.name.is_none() {
            return;
        }
        let size = self.entry.dtype.bitsize() / 8;
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(size - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < size {
                return;
            }
            let element = std::mem::take(&mut self.partial);
            self.decode(&element);
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % size);
        self.decode(whole);
        self.partial.extend_from_slice(rest);
    }

    /// Appends whole elements.
    fn decode(&mut self, bytes: &[u8]) {
        match self.entry.dtype {
            Dtype::F32 => {
                let elements = bytes.as_chunks().0.iter();
                self.values.extend(elements.map(|&element| f32::from_le_bytes(element)));
            }
            Dtype::F16 => {
                let elements = bytes.as_chunks().0.iter();
                self.values.extend(elements.map(|&element| f16::from_le_bytes(element).to_f32()));
            }
            // Only the three dtypes of `is_float` get here.
            _ => {
                let elements = bytes.as_chunks().0.iter();
                self.values.extend(elements.map(|&element| bf16::from_le_bytes(element).to_f32()));
            }
        }
    }

    fn finish(self, file: &str, weights: &mut Weights) -> Result<()> {
        let Some(name) = self.name else { return Ok(()) };
        if let Some(at) = self.values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Tensor {
                file: file.into(),
                tensor: self.entry.name,
                problem: format!("element {at} is {}; weights must be finite", self.values[at]),
            });
        }
        weights.insert(name, self.entry.shape, self.values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a file with this header and `data_len` zero bytes.
    fn file(header: &str, data_len: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data_len, 0);
        bytes
    }

    fn table() -> KeyTable {
        let mut table = KeyTable::new();
        table.require("a", &[2, 2]);
        table.require("b", &[3]);
        table
    }

    fn read(bytes: &[u8]) -> Result<Weights> {
        let mut reader = TensorReader::new("model.safetensors", bytes.len() as u64, table());
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
            let mut reader = TensorReader::new("model.safetensors", bytes.len() as u64, table());
            for piece in bytes.chunks(size) {
                reader.push(piece).expect("valid");
            }
            let weights = reader.finish().expect("complete");
            assert_eq!(weights.get("a"), Some((&[2, 2][..], &[1.0, -2.5, 1e-30, 3.0][..])));
            assert_eq!(weights.get("b"), Some((&[3][..], &[0.5, -8.0, 0.25][..])));
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
                "",
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
                "surplus",
                format!(
                    r#"{{{A}, {B}, "c": {{"dtype": "F16", "shape": [0], "data_offsets": [22, 22]}}}}"#
                ),
                "\"c\"",
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
        assert!(matches!(read(b"<!doctype html><html></html>"), Err(Error::Damaged { .. })));
        assert!(matches!(read(b""), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_file_that_is_cut_off_or_too_long_is_refused() {
        let whole = file(&format!("{{{A}, {B}}}"), 22);
        read(&whole).expect("the whole file is fine");
        for len in 0..whole.len() {
            let mut reader = TensorReader::new("model.safetensors", whole.len() as u64, table());
            reader.push(&whole[..len]).expect("a beginning is fine");
            assert!(matches!(reader.finish(), Err(Error::Damaged { .. })), "{len}");
            assert!(read(&whole[..len]).is_err(), "{len}");
        }
        let mut reader = TensorReader::new("model.safetensors", whole.len() as u64, table());
        reader.push(&whole).expect("fine");
        assert!(matches!(reader.push(&[0]), Err(Error::Damaged { .. })));
    }

    #[test]
    fn weights_that_are_not_numbers_are_refused_by_name() {
        let mut bytes = file(&format!("{{{A}, {B}}}"), 22);
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&f16::INFINITY.to_le_bytes());
        let error = read(&bytes).expect_err("infinite");
        assert!(error.to_string().contains("\"b\""), "{error}");
    }
}
