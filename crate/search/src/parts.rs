//! The bytes of an index's parts, little-endian: a head of four letters and a version, then what the part holds.

use crate::error::{Error, Result};

/// Of all parts.
const VERSION: u32 = 1;

/// Bytes of a number in groups of 7 bits, at most.
const MAX_VARINT: usize = 5;

/// Begins a part.
pub fn head(magic: &[u8; 4]) -> Vec<u8> {
    [magic, &VERSION.to_le_bytes()[..]].concat()
}

/// Appends a number, 7 bits a byte, the lowest first; a set high bit says that more follow.
pub fn put_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Takes a part's bytes from first to last.
#[derive(Clone)]
pub struct Reader<'a> {
    part: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Of bytes in the middle of a part.
    pub fn new(part: &'static str, bytes: &'a [u8]) -> Self {
        Self { part, bytes }
    }

    /// Of a whole part, behind its head.
    pub fn open(part: &'static str, magic: &[u8; 4], bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Self { part, bytes };
        if bytes.get(..4) != Some(magic) {
            return Err(reader.damaged("its first bytes are not those of this part of an index"));
        }
        reader.take(4)?;
        match reader.u32()? {
            VERSION => Ok(reader),
            version => Err(reader.damaged(format!(
                "it has version {version}, but this embervec reads version {VERSION}; \
                 update embervec or rebuild the index"
            ))),
        }
    }

    /// An error about this part.
    pub fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::Damaged { part: self.part, problem: problem.into() }
    }

    /// What is not yet taken.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.bytes.split_at_checked(count) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(self.damaged("it ends too early")),
        }
    }

    pub fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Numbers of 4 bytes each.
    pub fn words(&mut self, count: usize) -> Result<impl ExactSizeIterator<Item = [u8; 4]> + 'a> {
        let size = count.checked_mul(4).ok_or_else(|| self.damaged("it is too large"))?;
        Ok(self.take(size)?.as_chunks::<4>().0.iter().copied())
    }

    pub fn f32s(&mut self, count: usize) -> Result<Vec<f32>> {
        Ok(self.words(count)?.map(f32::from_le_bytes).collect())
    }

    pub fn varint(&mut self) -> Result<u32> {
        let mut value = 0_u64;
        for i in 0..MAX_VARINT {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| self.damaged("a number is too large"));
            }
        }
        Err(self.damaged("a number is too long"))
    }
}
