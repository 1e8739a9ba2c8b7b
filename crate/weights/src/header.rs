//! The header of a safetensors file: what lies where.
//!
//! Format: <https://huggingface.co/docs/safetensors/index#format>: 8 bytes of little-endian header
//! length, a JSON header, then the tensors' bytes. The crate `safetensors` wants the whole file in
//! memory at once and reports errors without the tensor's name; a browser tab has room for neither
//! the file and the model side by side, nor for guessing. Its types are used for the header.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use safetensors::tensor::{Dtype, TensorInfo};
use serde::Deserialize as _;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::limits::MAX_HEADER_BYTES;
use crate::{Error, Result};

pub(crate) const LENGTH_BYTES: usize = 8;

/// How every pointer of <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md> begins: `version https://…`.
const LFS_BEGINNING: &[u8] = b"version ";

/// A file's header: what lies where.
#[derive(Debug)]
pub struct Header {
    /// In the order of their bytes, which follow each other without a gap.
    pub(crate) entries: Vec<Entry>,
    /// Of the whole file, up to the end of the last tensor.
    pub(crate) file_len: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    pub byte_len: usize,
}

impl Entry {
    /// Number of values, which [`Header::parse`] has found to fit.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Values for each index of the first dimension, of a shape that the key table has compared.
    pub fn columns(&self) -> usize {
        self.shape[1..].iter().product()
    }
}

impl Header {
    /// Reads the header of a file, and nothing behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Tensor`] for a header that is invalid or contradicts itself.
    pub fn read(file: &str, source: &mut impl Read) -> Result<Self> {
        let damaged = |problem: String| Error::Damaged { file: file.into(), problem };
        let mut bytes = Vec::new();
        let mut missing = LENGTH_BYTES as u64;
        loop {
            let mut piece = Vec::new();
            let read = source.take(missing).read_to_end(&mut piece);
            read.map_err(|error| damaged(error.to_string()))?;
            if piece.len() as u64 != missing {
                return Err(damaged("it ends within its header".into()));
            }
            if let Some(end) = fill_header(&mut bytes, &mut &piece[..]).map_err(damaged)? {
                return Self::parse(file, &bytes[LENGTH_BYTES..end]);
            }
            missing = header_len(&bytes);
        }
    }

    /// Parses the JSON: every tensor's bytes follow from its shape, and together they are the rest of
    /// the file.
    pub fn parse(file: &str, json: &[u8]) -> Result<Self> {
        let damaged = |problem: String| Error::Damaged { file: file.into(), problem };
        let RawHeader(raw) = serde_json::from_slice(json)
            .map_err(|error| damaged(format!("its header is not a list of tensors: {error}")))?;

        let mut entries = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            if name == "__metadata__" {
                let is_sound = match &value {
                    serde_json::Value::Object(entries) => {
                        entries.values().all(serde_json::Value::is_string)
                    }
                    value => value.is_null(),
                };
                if !is_sound {
                    return Err(damaged("its __metadata__ is not a map of strings".into()));
                }
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
                // Values may be smaller than bytes, and beside a size of 0 the others may be anything: however their product
                // is made, it must fit.
                .filter(|_| {
                    info.shape
                        .iter()
                        .try_fold(1usize, |count, &size| count.checked_mul(size.max(1)))
                        .is_some()
                })
                .ok_or_else(|| {
                    problem(format!("shape {:?} is too large for this machine", info.shape))
                })?;
            if end.checked_sub(begin) != Some(byte_len) {
                return Err(problem(format!(
                    "data_offsets {begin}..{end} do not match shape {:?} of {:?}, which has {byte_len} bytes",
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
                        "data_offsets begin at {begin} and {fault} the previous tensor, which ends at {expected_begin}"
                    ),
                });
            }
            expected_begin += entry.byte_len;
        }
        Ok(Self {
            entries: entries.into_iter().map(|(_, entry)| entry).collect(),
            file_len: (LENGTH_BYTES + json.len()) as u64 + expected_begin as u64,
        })
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

/// Moves bytes from `piece` to `bytes` until these are the length field and the whole header;
/// gives the header's end once they are.
pub(crate) fn fill_header(
    bytes: &mut Vec<u8>,
    piece: &mut &[u8],
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
    let length = header_len(bytes);
    if &bytes[..LENGTH_BYTES] == LFS_BEGINNING {
        return Err("it is a Git LFS pointer, not the weights themselves; run `git lfs pull`, \
                    then serve or upload the downloaded file"
            .into());
    }
    if length > MAX_HEADER_BYTES {
        return Err(format!(
            "it is not a safetensors file: its first 8 bytes declare a header of {length} bytes"
        ));
    }
    let header_end = LENGTH_BYTES + length as usize;
    Ok(take_until(bytes, header_end).then_some(header_end))
}

/// What the length field says.
fn header_len(bytes: &[u8]) -> u64 {
    let mut length = [0; LENGTH_BYTES];
    length.copy_from_slice(&bytes[..LENGTH_BYTES]);
    u64::from_le_bytes(length)
}

/// The length field and header of a file with these tensors, one after the other. Padded with
/// spaces to a multiple of 8 bytes, so that the first tensor is aligned.
pub(crate) fn write_header(
    tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>,
    metadata: serde_json::Value,
) -> Vec<u8> {
    let mut begin = 0u64;
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), metadata);
    for (name, dtype, shape) in tensors {
        // In 64 bits: a file may be larger than a 32-bit memory, through which it goes piece by piece.
        let count = shape.iter().map(|&size| size as u64).product::<u64>();
        let end = begin + count * dtype.bitsize() as u64 / 8;
        let entry =
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
        header.insert(name, entry);
        begin = end;
    }
    let mut json = serde_json::Value::Object(header).to_string().into_bytes();
    json.resize((LENGTH_BYTES + json.len()).next_multiple_of(8) - LENGTH_BYTES, b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes
}
