//! SentencePiece's table of characters and what becomes of them, `precompiled_charsmap`: checked before the library
//! reads it, which would index outside of it.
//!
//! The table is a 32-bit length, a double-array trie of 32-bit units
//! (<https://github.com/google/sentencepiece/blob/v0.2.0/third_party/darts_clone/darts.h>), and texts that end with 0.

use std::fmt::Display;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokenizers::normalizers::Precompiled;

use crate::limits::MAX_CHARSMAP_TEXT_BYTES;

type Result<T> = std::result::Result<T, String>;

/// Reads the table from Base64.
pub fn precompiled(base64: &str) -> Result<Precompiled> {
    let bytes = BASE64_STANDARD
        .decode(base64)
        .map_err(|error| format!("precompiled_charsmap is not Base64: {error}"))?;
    check(&bytes).map_err(|problem| format!("precompiled_charsmap {problem}"))?;
    Precompiled::from(&bytes).map_err(|error| error.to_string())
}

fn check(bytes: &[u8]) -> Result<()> {
    let (length, rest) = bytes.split_first_chunk().ok_or("is empty")?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > rest.len() || !length.is_multiple_of(4) || length == 0 {
        return Err(format!("declares a table of {length} bytes, but has {}", rest.len()));
    }
    let (table, texts) = rest.split_at(length);
    let texts = std::str::from_utf8(texts).map_err(|error| error.to_string())?;
    if let Some(long) = texts.split('\0').find(|text| text.len() > MAX_CHARSMAP_TEXT_BYTES) {
        let len = long.len();
        return Err(format!("has a text of {len} bytes; the maximum is {MAX_CHARSMAP_TEXT_BYTES}"));
    }
    let units: Vec<u32> =
        table.as_chunks().0.iter().map(|&unit| u32::from_le_bytes(unit)).collect();
    let outside = |what: &dyn Display| Err(format!("has {what} that points outside the table"));
    for (i, &unit) in units.iter().enumerate() {
        // A value, which no byte leads through.
        if unit >> 31 == 1 && i > 0 {
            continue;
        }
        // In 64 bits: the offset may have 30.
        let offset = u64::from(unit >> 10) << ((unit & 1 << 9) >> 6);
        let first = i as u64 ^ offset;
        // Wherever a byte leads.
        if first | 0xff >= units.len() as u64 {
            return outside(&format!("unit {i}"));
        }
        if unit >> 8 & 1 == 1 {
            let place = (units[first as usize] & !(1 << 31)) as usize;
            if !texts.is_char_boundary(place) {
                return outside(&format!("a text at {place}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that replaces "a" by the text at `place`.
    fn table(place: u32, units: usize, texts: &[u8]) -> Vec<u8> {
        let mut table = vec![0u32; units];
        let set = |table: &mut Vec<u32>, at: usize, unit: u32| {
            if let Some(slot) = table.get_mut(at) {
                *slot = unit;
            }
        };
        // From the root to its children, which begin at 256; from "a" to its value, at 512.
        set(&mut table, 0, 256 << 10);
        let a = 256 ^ usize::from(b'a');
        set(&mut table, a, ((512 ^ a as u32) << 10) | 1 << 8 | u32::from(b'a'));
        set(&mut table, 512, 1 << 31 | place);
        let mut bytes = (4 * units as u32).to_le_bytes().to_vec();
        bytes.extend(table.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend_from_slice(texts);
        bytes
    }

    #[test]
    fn a_table_that_stays_within_itself_is_read() {
        let bytes = table(2, 768, "x\0é\0".as_bytes());
        check(&bytes).expect("sound");
        let precompiled = Precompiled::from(&bytes).expect("sound");
        assert_eq!(precompiled.normalize_string("bad"), "béd");
    }

    #[test]
    fn a_table_that_points_outside_of_itself_is_refused() {
        let texts = "x\0é\0".as_bytes();
        for bytes in [
            Vec::new(),
            vec![0; 4],
            u32::MAX.to_le_bytes().to_vec(),
            table(3, 768, texts),
            table(6, 768, texts),
            table(u32::MAX >> 1, 768, texts),
            table(2, 767, texts),
            table(2, 512, texts),
            table(2, 100, texts),
            table(2, 768, b"\xff"),
            table(2, 768, &[b'x'; MAX_CHARSMAP_TEXT_BYTES + 1]),
        ] {
            assert!(check(&bytes).is_err(), "{} bytes", bytes.len());
        }
    }
}
