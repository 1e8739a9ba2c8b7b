//! The rows' metadata by place: for each value of each place the rows that have it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use embervec_json::Json;

use crate::bits::BitSet;
use crate::error::{Error, Result};
use crate::filter::{Comparison, Filter};

/// A value that can be compared: those of one kind with each other, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
}

impl Key {
    /// What a JSON value is; `None` for lists and objects.
    pub fn of(value: &Json) -> Option<Self> {
        match value {
            Json::Null => Some(Self::Null),
            Json::Bool(value) => Some(Self::Bool(*value)),
            Json::Int(value) => Some(Self::Number(*value as f64)),
            // -0 is 0.
            Json::LongInt(value) | Json::Float(value) => Some(Self::Number(value + 0.0)),
            Json::Str(text) | Json::BrokenStr(text) => Some(Self::Text(text.clone())),
            Json::List(_) | Json::Object(_) => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
        }
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

/// Rows, as whichever of the two is smaller.
#[derive(Debug)]
enum Rows {
    /// In order.
    Few(Vec<u32>),
    Many(BitSet),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Rows {
    /// Puts in a row, none before the last one.
    fn push(&mut self, row: u32) {
        match self {
            Self::Few(rows) => {
                if rows.last() == Some(&row) {
                    return;
                }
                rows.push(row);
                // 32 bits each, or 1 bit for each row up to the last one.
                if rows.len() >= 64 && rows.len() * 32 > row as usize {
                    let mut bits = BitSet::empty(row as usize + 1);
                    rows.iter().for_each(|&row| bits.insert(row as usize));
                    *self = Self::Many(bits);
                }
            }
            Self::Many(bits) => {
                bits.grow(row as usize + 1, false);
                bits.insert(row as usize);
            }
        }
    }

    fn add_to(&self, set: &mut BitSet) {
        match self {
            Self::Few(rows) => rows.iter().for_each(|&row| set.insert(row as usize)),
            Self::Many(bits) => set.or(bits),
        }
    }
}

/// The number of the place that is a whole object of metadata.
const ROOT: u32 = 0;

/// The most parts of a key with points. Each is a place: one of nothing but points would make as many as it has bytes.
const MAX_KEY_PARTS: usize = 32;

/// The places of metadata, and the values of all of them.
///
/// Nothing here is many times as large as the JSON it is made of: a place knows the one that it lies in, not the whole
/// way, one map has the values of all, and a key is few places.
#[derive(Default)]
pub struct Columns {
    /// A place by the one that it lies in and the key there. A key with points is several.
    places: BTreeMap<(u32, String), u32>,
    /// Rows that have anything at a place, by its number less 1.
    present: Vec<Rows>,
    values: BTreeMap<(u32, Key), Rows>,
}

impl Columns {
    /// Takes the metadata of `count` rows from row `first` on: a JSON array of objects or `null`s. If that cannot be
    /// taken, nothing is.
    pub fn append(&mut self, json: &str, first: usize, count: usize) -> Result<()> {
        let mut found = 0;
        for row in rows_of(json) {
            check_keys(found, &read_row(found, row?)?)?;
            found += 1;
        }
        if found != count {
            return Err(Error::invalid(format!(
                "metadata has {found} rows, but there are {count} vectors"
            )));
        }
        // Read once more, so that not all of it is in memory at once.
        for (i, row) in rows_of(json).enumerate() {
            let value = read_row(i, row?)?;
            if value != Json::Null {
                self.take((first + i) as u32, ROOT, &value, false);
            }
        }
        Ok(())
    }

    fn take(&mut self, row: u32, place: u32, value: &Json, is_item: bool) {
        match value {
            Json::Object(entries) => {
                for (key, value) in entries.iter() {
                    let place = self.place(place, key);
                    self.present[place as usize - 1].push(row);
                    self.take(row, place, value, false);
                }
            }
            // What is in a list within a list cannot be asked for, as in MongoDB.
            Json::List(items) if !is_item => {
                items.iter().for_each(|item| self.take(row, place, item, true));
            }
            _ => {
                let Some(key) = Key::of(value) else { return };
                let at = (place, key);
                match self.values.get_mut(&at) {
                    Some(rows) => rows.push(row),
                    None => drop(self.values.insert(at, Rows::Few(vec![row]))),
                }
            }
        }
    }

    /// The place of a key within another one; a new one where there is none.
    fn place(&mut self, within: u32, key: &str) -> u32 {
        key.split('.').fold(within, |within, part| {
            let at = (within, part.to_owned());
            if let Some(&place) = self.places.get(&at) {
                return place;
            }
            self.present.push(Rows::default());
            let place = self.present.len() as u32;
            self.places.insert(at, place);
            place
        })
    }

    fn find(&self, name: &str) -> Option<u32> {
        name.split('.')
            .try_fold(ROOT, |within, part| self.places.get(&(within, part.to_owned())).copied())
    }

    fn add_present(&self, place: u32, set: &mut BitSet) {
        self.present[place as usize - 1].add_to(set);
    }

    /// Which of `rows` rows match.
    pub fn matching(&self, filter: &Filter, rows: usize) -> BitSet {
        let mut set = BitSet::empty(rows);
        match filter {
            Filter::All(filters) => {
                set.invert();
                filters.iter().for_each(|filter| set.and(&self.matching(filter, rows)));
            }
            Filter::Any(filters) => {
                filters.iter().for_each(|filter| set.or(&self.matching(filter, rows)));
            }
            Filter::Not(filter) => {
                set = self.matching(filter, rows);
                set.invert();
            }
            Filter::Exists(place) => {
                if let Some(place) = self.find(place) {
                    self.add_present(place, &mut set);
                }
            }
            Filter::In(place, keys) => {
                let place = self.find(place);
                if keys.contains(&Key::Null) {
                    // What is not there is null.
                    if let Some(place) = place {
                        self.add_present(place, &mut set);
                    }
                    set.invert();
                }
                let Some(place) = place else { return set };
                for key in keys {
                    if let Some(rows) = self.values.get(&(place, key.clone())) {
                        rows.add_to(&mut set);
                    }
                }
            }
            Filter::Compare(place, comparison, key) => {
                let Some(place) = self.find(place) else { return set };
                let at = (place, key.clone());
                // Values are in order by place, kind and size.
                let bounds = match comparison {
                    Comparison::Greater => (Bound::Excluded(at), Bound::Unbounded),
                    Comparison::GreaterOrEqual => (Bound::Included(at), Bound::Unbounded),
                    Comparison::Less => (Bound::Unbounded, Bound::Excluded(at)),
                    Comparison::LessOrEqual => (Bound::Unbounded, Bound::Included(at)),
                };
                let is_kind =
                    |(number, value): &(u32, Key)| *number == place && value.kind() == key.kind();
                let add = |(_, rows): (_, &Rows)| rows.add_to(&mut set);
                let values = self.values.range(bounds);
                match comparison {
                    Comparison::Greater | Comparison::GreaterOrEqual => {
                        values.take_while(|(at, _)| is_kind(at)).for_each(add);
                    }
                    Comparison::Less | Comparison::LessOrEqual => {
                        values.rev().take_while(|(at, _)| is_kind(at)).for_each(add);
                    }
                }
            }
        }
        set
    }
}

fn read_row(row: usize, json: &str) -> Result<Json> {
    let value = Json::parse(json.as_bytes())
        .map_err(|error| Error::invalid(format!("metadata of row {row} {error}")))?;
    match value {
        Json::Null | Json::Object(_) => Ok(value),
        _ => Err(Error::invalid(format!("metadata of row {row} must be an object or null"))),
    }
}

fn check_keys(row: usize, value: &Json) -> Result<()> {
    match value {
        Json::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            if key.split('.').nth(MAX_KEY_PARTS).is_some() {
                return Err(Error::invalid(format!(
                    "metadata of row {row}: a key has more than {MAX_KEY_PARTS} parts separated by dots"
                )));
            }
            check_keys(row, value)
        }),
        Json::List(items) => items.iter().try_for_each(|item| check_keys(row, item)),
        _ => Ok(()),
    }
}

/// The items of a JSON array, each of which may still be anything. One that lacks a bracket or a quote takes all that follows.
fn rows_of(json: &str) -> impl Iterator<Item = Result<&str>> {
    let inner = json.trim_ascii().strip_prefix('[').and_then(|json| json.strip_suffix(']'));
    let mut rest = inner.filter(|inner| !inner.trim_ascii().is_empty());
    let not_an_array = inner.is_none().then(|| Err(Error::invalid("metadata is not a JSON array")));
    let items = std::iter::from_fn(move || {
        let json = rest?;
        let (item, behind) = match item_end(json.as_bytes()) {
            Some(end) => (&json[..end], Some(&json[end + 1..])),
            None => (json, None),
        };
        rest = behind;
        Some(Ok(item))
    });
    not_an_array.into_iter().chain(items)
}

/// The first comma that is in no brackets and in no string.
fn item_end(json: &[u8]) -> Option<usize> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    json.iter().position(|&byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => return depth == 0,
            _ => {}
        }
        false
    })
}
