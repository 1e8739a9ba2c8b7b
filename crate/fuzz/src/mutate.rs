//! Edits of inputs: of bytes, of JSON by its structure, of weights by their header, and of archives file by file.

use crate::archive::Archive;
use crate::random::Random;
use crate::tree::Tree;

/// Inputs do not grow beyond this. Budgets have a floor that smaller ones share, and larger ones only take longer.
pub const MAX_BYTES: usize = 256 << 10;

/// How an input is made up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// A JSON file.
    Json,
    /// A safetensors file.
    Weights,
    /// Files in an [`Archive`].
    Archive,
}

/// Edits inputs of a form. What it puts in comes from other inputs, and from lists of what has broken programs before.
#[derive(Debug)]
pub struct Mutator {
    form: Form,
    inputs: Vec<Vec<u8>>,
    values: Vec<Tree>,
    keys: Vec<Vec<u8>>,
}

/// Values of JSON that programs stumble over.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "2",
    "-1",
    "0.0",
    "0.5",
    "-0.0",
    "1e-320",
    "1e38",
    "1e39",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "255",
    "256",
    "65536",
    "2147483647",
    "2147483648",
    "4194304",
    "4194305",
    "4294967295",
    "4294967296",
    "1152921504606846976",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "\"\"",
    "\" \"",
    "\"a\"",
    "\"null\"",
    "\"True\"",
    r#""\u0000""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\u00e9""#,
    "\"é\"",
    "\"e\u{301}\"",
    "\"😀\"",
    "\"▁\"",
    "\"##\"",
    "\"[MASK]\"",
    "\"\u{feff}\"",
    "\"..\"",
    "\"../x\"",
    "\"/x\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    r#"["a"]"#,
    r#"{"":null}"#,
    r#"["a","b"]"#,
    "[0]",
    "[1,1]",
    "tru",
    "'a'",
    "\"\n\"",
];

/// What may be put into a string.
const PIECES: &[&str] = &[
    "", " ", "a", "#", "##", "▁", "é", "e\u{301}", "😀", "\u{200d}", "İ", "ﬁ", "ﷺ", "你", "\u{0}",
    r"\u0000", r"\ud83d", r"\\", "\\\"", "[CLS]", "<s>", "</w>", "$A", ":", "../", "/", ".", "(",
    ")", "[", "]", "*", "+", "{9}", "{99999}", "(?=a)", "(?i)", r"\\p{L}", r"\\s", "|", "^", "$",
    "\u{130}", "\u{fffd}", "<0xE2>",
];

/// Depths at which parsers give up.
const DEPTHS: &[usize] = &[2, 100, 127, 128, 129, 499, 500, 501, 10_000, 100_000];

impl Mutator {
    /// Edits inputs with parts of these.
    pub fn new(form: Form, inputs: &[Vec<u8>]) -> Self {
        let mut values: Vec<Tree> = VALUES.iter().map(Tree::raw).collect();
        let mut keys = Vec::new();
        let mut take = |bytes: &[u8]| {
            if let Some(tree) = Tree::parse(bytes) {
                collect(&tree, &mut values, &mut keys);
            }
        };
        for input in inputs {
            match form {
                Form::Json => take(input),
                Form::Weights => drop(header(input).map(&mut take)),
                Form::Archive => {
                    Archive::parse(input).files.iter().for_each(|(_, content)| take(content));
                }
            }
        }
        Self { form, inputs: inputs.to_vec(), values, keys }
    }

    /// Some edits of an input.
    pub fn mutate(&self, input: &[u8], random: &mut Random) -> Vec<u8> {
        let mut bytes = input.to_vec();
        // Mostly one, sometimes a few.
        let mut count = 1;
        while count < 8 && random.once_in(3) {
            count += 1;
        }
        for _ in 0..count {
            bytes = match self.form {
                Form::Json => self.json(&bytes, random),
                Form::Weights => self.weights(bytes, random),
                Form::Archive => self.archive(&bytes, random),
            };
        }
        match bytes.len() > MAX_BYTES {
            true => input.to_vec(),
            false => bytes,
        }
    }

    fn archive(&self, bytes: &[u8], random: &mut Random) -> Vec<u8> {
        let mut archive = Archive::parse(bytes);
        let other = random.pick(&self.inputs).map(|input| Archive::parse(input));
        let file = random.below(archive.files.len());
        match random.below(24) {
            0 => {
                if file < archive.files.len() {
                    archive.files.remove(file);
                }
            }
            1 | 2 => {
                if let Some((name, content)) = other.as_ref().and_then(|it| random.pick(&it.files))
                {
                    archive.put(name, content.clone());
                }
            }
            // A file's content under another's name.
            3 => {
                let name = other.as_ref().and_then(|it| random.pick(&it.files));
                let content = archive.files.get(file).map(|(_, content)| content.clone());
                if let (Some((name, _)), Some(content)) = (name, content) {
                    archive.put(name, content);
                }
            }
            _ => {
                if let Some((name, content)) = archive.files.get_mut(file) {
                    let is_json = name.contains(".json");
                    let is_weights = name.contains(".safetensors") && !is_json;
                    let old = std::mem::take(content);
                    *content = match (is_json, is_weights) {
                        (true, _) => self.json(&old, random),
                        (_, true) => self.weights(old, random),
                        _ => text(old, random),
                    };
                }
            }
        }
        archive.to_bytes()
    }

    fn weights(&self, bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
        let Some(old) = header(&bytes).filter(|_| random.once_in(2)) else {
            return edit_bytes(bytes, random);
        };
        let new = self.json(old, random);
        let data = &bytes[8 + old.len()..];
        let len = match random.once_in(8) {
            true => old.len(),
            false => new.len(),
        };
        [&(len as u64).to_le_bytes()[..], &new, data].concat()
    }

    fn json(&self, bytes: &[u8], random: &mut Random) -> Vec<u8> {
        match random.below(30) {
            0 => return edit_bytes(bytes.to_vec(), random),
            1 => return bytes[..random.below(bytes.len() + 1)].to_vec(),
            2 if random.once_in(4) => {
                let fronts: [&[u8]; 4] = [
                    b"\xef\xbb\xbf",
                    b"\xff\xfe",
                    b" ",
                    b"version https://git-lfs.github.com/spec/",
                ];
                return [fronts[random.below(fronts.len())], bytes].concat();
            }
            _ => {}
        }
        let Some(mut tree) = Tree::parse(bytes) else {
            return edit_bytes(bytes.to_vec(), random);
        };
        self.edit(&mut tree, random);
        tree.to_bytes()
    }

    /// Edits one place of a value. Each level is as likely as those below it together, so that a vocabulary's
    /// thousands of entries do not draw all edits to themselves.
    fn edit(&self, tree: &mut Tree, random: &mut Random) {
        let count = tree.children().count();
        if count > 0 && !random.once_in(4) {
            let index = random.below(count);
            if let Some(child) = tree.child_mut(index) {
                return self.edit(child, random);
            }
        }
        if random.once_in(4) {
            *tree = self.value(random);
            return;
        }
        match tree {
            Tree::Raw(raw) => self.edit_raw(raw, random),
            Tree::List(items) => {
                let index = random.below(items.len());
                match random.below(6) {
                    0 if !items.is_empty() => drop(items.remove(index)),
                    1 if !items.is_empty() => {
                        let item = items[index].clone();
                        items.insert(random.below(items.len()), item);
                    }
                    2 if !items.is_empty() => {
                        let item = items[index].clone();
                        items.extend(std::iter::repeat_n(item, 1 << random.below(10)));
                    }
                    3 if !items.is_empty() => items.swap(index, 0),
                    4 => items.truncate(index),
                    _ => items.insert(index, self.value(random)),
                }
            }
            Tree::Object(entries) => {
                let index = random.below(entries.len());
                let key = random.pick(&self.keys).cloned().unwrap_or_else(|| b"\"a\"".to_vec());
                match random.below(7) {
                    0 | 1 if !entries.is_empty() => drop(entries.remove(index)),
                    2 if !entries.is_empty() => {
                        let key = entries[index].0.clone();
                        entries.insert(random.below(entries.len() + 1), (key, self.value(random)));
                    }
                    3 if !entries.is_empty() => entries[index].0 = key,
                    4 if !entries.is_empty() => self.edit_raw(&mut entries[index].0, random),
                    5 if !entries.is_empty() => {
                        let value = entries[index].1.clone();
                        entries[0].1 = value;
                    }
                    _ => entries.insert(index, (key, self.value(random))),
                }
            }
        }
    }

    fn edit_raw(&self, raw: &mut Vec<u8>, random: &mut Random) {
        let is_string = raw.len() >= 2 && raw[0] == b'"';
        if !is_string {
            let number = std::str::from_utf8(raw).ok().and_then(|text| text.parse::<i64>().ok());
            let Some(number) = number else { return };
            let edited = match random.below(8) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                2 => number.wrapping_neg(),
                3 => number.wrapping_mul(2),
                4 => number / 2,
                5 => number.wrapping_shl(random.below(64) as u32),
                6 => random.below(200) as i64,
                _ => number.wrapping_mul(1000),
            };
            *raw = match random.once_in(10) {
                true => format!("{edited}.0"),
                false => edited.to_string(),
            }
            .into_bytes();
            return;
        }
        let mut at = 1 + random.below(raw.len() - 1);
        match random.below(6) {
            0 => drop(raw.splice(1..raw.len() - 1, [])),
            1 if raw.len() > 2 => drop(raw.remove(at.min(raw.len() - 2))),
            2 => {
                // A long one.
                let content = raw[1..raw.len() - 1].to_vec();
                let repeated = content.repeat(1 << random.below(10));
                if repeated.len() < MAX_BYTES / 4 {
                    raw.splice(1..raw.len() - 1, repeated);
                }
            }
            3 if raw.len() > 2 => drop(raw.splice(at..raw.len() - 1, [])),
            _ => {
                while at > 1 && raw[at] & 0xc0 == 0x80 {
                    at -= 1;
                }
                let piece = PIECES[random.below(PIECES.len())];
                raw.splice(at..at, piece.bytes());
            }
        }
    }

    /// A value from anywhere.
    fn value(&self, random: &mut Random) -> Tree {
        match random.below(20) {
            0 => {
                let depth = DEPTHS[random.below(DEPTHS.len())];
                Tree::raw([b"[".repeat(depth), b"]".repeat(depth)].concat())
            }
            1 => {
                let depth = DEPTHS[random.below(DEPTHS.len())].min(10_000);
                Tree::raw([br#"{"a":"#.repeat(depth), b"0".to_vec(), b"}".repeat(depth)].concat())
            }
            2..=9 => Tree::raw(VALUES[random.below(VALUES.len())]),
            _ => random.pick(&self.values).cloned().unwrap_or_else(|| Tree::raw("0")),
        }
    }
}

/// The JSON of a safetensors file.
fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?)
}

/// Small values and keys, each once, to be put in elsewhere.
fn collect(tree: &Tree, values: &mut Vec<Tree>, keys: &mut Vec<Vec<u8>>) {
    /// A vocabulary's words are all alike.
    const MAX_ENTRIES: usize = 40;
    let count = tree.children().count();
    if count > 0 && count <= MAX_ENTRIES && !values.contains(tree) {
        values.push(tree.clone());
    }
    if let Tree::Raw(raw) = tree
        && raw.len() < 200
        && !values.contains(tree)
    {
        values.push(tree.clone());
    }
    if let Tree::Object(entries) = tree {
        for (key, _) in entries.iter().take(MAX_ENTRIES) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    tree.children().take(MAX_ENTRIES).for_each(|child| collect(child, values, keys));
}

/// Edits a text file: its lines, or its bytes.
fn text(bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if random.once_in(3) {
        return edit_bytes(bytes, random);
    }
    let mut lines: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = random.below(lines.len());
    match random.below(5) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines.swap(0, at),
        _ => {
            let place = random.below(lines[at].len() + 1);
            let piece = PIECES[random.below(PIECES.len())];
            lines[at].splice(place..place, piece.bytes());
        }
    }
    lines.join(&b'\n')
}

/// Edits bytes, whatever they are.
pub fn edit_bytes(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let at = random.below(bytes.len());
    let magnitude = random.below(8);
    let len = random.below(1 << magnitude);
    let end = (at + len).min(bytes.len());
    match random.below(8) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.number() as u8,
        2 => drop(bytes.splice(at..end, [])),
        3 => bytes.truncate(at),
        4 => {
            let copy = bytes[at..end].to_vec();
            let place = random.below(bytes.len() + 1);
            bytes.splice(place..place, copy);
        }
        5 => {
            // A number in the place of another.
            let numbers = [
                0,
                1,
                0x7f,
                0xff,
                0x7f80_0000,
                0x7fc0_0000,
                0x7f7f_ffff,
                u64::from(u32::MAX),
                u64::MAX >> 1,
                u64::MAX,
            ];
            let number = numbers[random.below(numbers.len())].to_le_bytes();
            let size = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
            bytes[at..at + size].copy_from_slice(&number[..size]);
        }
        6 => bytes[at..end].fill([0, b'a', 0xff, b'['][random.below(4)]),
        _ => {
            let piece = (0..len.min(16)).map(|_| random.number() as u8).collect::<Vec<_>>();
            bytes.splice(at..at, piece);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_the_same_at_every_run_and_never_too_large() {
        let json = br#"{"a": [1, "two", {"b": null}], "c": "d"}"#.to_vec();
        let archive =
            Archive::default().with("x.json", json.clone()).with("y.txt", "1\n2").to_bytes();
        let weights = [&(json.len() as u64).to_le_bytes()[..], &json, &[1, 2, 3, 4]].concat();
        for (form, input) in
            [(Form::Json, json.clone()), (Form::Archive, archive), (Form::Weights, weights)]
        {
            let mutator = Mutator::new(form, std::slice::from_ref(&input));
            let run = || {
                let (mut random, mut edited) = (Random::new(1), input.clone());
                let mut step = |_| {
                    edited = mutator.mutate(&edited, &mut random);
                    (edited.len(), Random::of(&edited).number())
                };
                (0..1000).map(&mut step).collect::<Vec<_>>()
            };
            assert!(run().iter().all(|(len, _)| *len <= MAX_BYTES));
            assert!(run().iter().any(|(len, _)| *len != input.len()));
            assert_eq!(run(), run(), "{form:?}");
        }
        assert!(Mutator::new(Form::Json, &[]).mutate(&[], &mut Random::new(2)).len() <= MAX_BYTES);
    }
}
