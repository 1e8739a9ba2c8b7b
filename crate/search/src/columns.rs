//! The rows' metadata by place: for each value of each place the rows that have it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;

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
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(value) => Some(Self::Bool(*value)),
            // -0 is 0.
            Value::Number(value) => value.as_f64().map(|value| Self::Number(value + 0.0)),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => None,
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

#[derive(Default)]
struct Column {
    /// Rows that have anything at this place.
    present: Rows,
    values: BTreeMap<Key, Rows>,
}

/// Columns by their place: the keys on the way to it, with points between.
#[derive(Default)]
pub struct Columns(BTreeMap<String, Column>);

impl Columns {
    /// Takes the metadata of `count` rows from row `first` on: a JSON array of objects or `null`s. If that cannot be
    /// taken, nothing is.
    pub fn append(&mut self, json: &str, first: usize, count: usize) -> Result<()> {
        let mut found = 0;
        each_row(json, &mut |value| {
            found += 1;
            match value {
                Value::Null | Value::Object(_) => Ok(()),
                _ => Err(format!("row {} is neither an object nor null", found - 1)),
            }
        })?;
        if found != count {
            return Err(Error::invalid(format!("metadata: {found} rows for {count} vectors")));
        }
        let mut row = first as u32;
        each_row(json, &mut |value| {
            if let Value::Object(_) = value {
                self.take(row, &mut String::new(), &value, false);
            }
            row += 1;
            Ok(())
        })
    }

    fn take(&mut self, row: u32, place: &mut String, value: &Value, is_item: bool) {
        if !place.is_empty() {
            self.column(place).present.push(row);
        }
        match value {
            Value::Object(entries) => {
                let length = place.len();
                for (key, value) in entries {
                    if length > 0 {
                        place.push('.');
                    }
                    place.push_str(key);
                    self.take(row, place, value, false);
                    place.truncate(length);
                }
            }
            // What is in a list within a list cannot be asked for, as in MongoDB.
            Value::Array(items) if !is_item => {
                items.iter().for_each(|item| self.take(row, place, item, true));
            }
            _ => {
                if let Some(key) = Key::of(value) {
                    self.column(place).values.entry(key).or_default().push(row);
                }
            }
        }
    }

    fn column(&mut self, place: &str) -> &mut Column {
        if !self.0.contains_key(place) {
            self.0.insert(place.into(), Column::default());
        }
        self.0.entry(place.into()).or_default()
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
                if let Some(column) = self.0.get(place) {
                    column.present.add_to(&mut set);
                }
            }
            Filter::In(place, keys) => {
                let column = self.0.get(place);
                if keys.contains(&Key::Null) {
                    // What is not there is null.
                    if let Some(column) = column {
                        column.present.add_to(&mut set);
                    }
                    set.invert();
                }
                for rows in keys.iter().filter_map(|key| column?.values.get(key)) {
                    rows.add_to(&mut set);
                }
            }
            Filter::Compare(place, comparison, key) => {
                let Some(column) = self.0.get(place) else { return set };
                let bounds = match comparison {
                    Comparison::Greater => (Bound::Excluded(key), Bound::Unbounded),
                    Comparison::GreaterOrEqual => (Bound::Included(key), Bound::Unbounded),
                    Comparison::Less => (Bound::Unbounded, Bound::Excluded(key)),
                    Comparison::LessOrEqual => (Bound::Unbounded, Bound::Included(key)),
                };
                let values = column.values.range::<Key, _>(bounds);
                for (_, rows) in values.filter(|(value, _)| value.kind() == key.kind()) {
                    rows.add_to(&mut set);
                }
            }
        }
        set
    }
}

/// Calls `take` with each value of a JSON array, only one of which is in memory at a time.
fn each_row(
    json: &str,
    take: &mut dyn FnMut(Value) -> std::result::Result<(), String>,
) -> Result<()> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = EachRow(take).deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| Error::invalid(format!("metadata: {error}")))
}

struct EachRow<'a>(&'a mut dyn FnMut(Value) -> std::result::Result<(), String>);

impl<'de> DeserializeSeed<'de> for EachRow<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> std::result::Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EachRow<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of objects and nulls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> std::result::Result<(), A::Error> {
        while let Some(row) = rows.next_element::<Value>()? {
            (self.0)(row).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
