//! JSON as Python's [`json`](https://docs.python.org/3.11/library/json.html) reads it.
//!
//! Model folders are written and read by Python, whose reader differs from the standard and from Rust's in what a file
//! may hold: `NaN` and `Infinity`, keys that come twice (the last counts), integers of any length, halves of surrogate
//! pairs; and whose code asks whether a value is *true* (`if config["do_lower_case"]:`). So that a folder means here what
//! it means there, its small files are read with this.

mod parse;

use std::fmt;

use indexmap::IndexMap;

pub use parse::ParseError;

/// A value of a JSON file.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`, Python's `None`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without a fraction or an exponent.
    Int(i64),
    /// Such a number beyond 64 bits, nearly.
    LongInt(f64),
    /// Any other number; `NaN` and the infinities, too.
    Float(f64),
    /// A string.
    Str(String),
    /// A string with a half of a surrogate pair, which Python can hold, but not give to its tokenizers; U+FFFD in its
    /// place.
    BrokenStr(String),
    /// `[…]`
    List(Vec<Json>),
    /// `{…}`
    Object(Object),
}

/// The entries of `{…}` in the order of their first appearance, each key once. Boxed, so that a [`Json`] stays small: values
/// are nested on the stack while they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Box<IndexMap<String, Json>>);

impl Json {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If Python's `json.load` fails, for more than 131,072 values, and for values that are nested more than 500 levels deep
    /// (Python's own limit depends on the caller, and is between 900 and 1000).
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        parse::parse(bytes)
    }

    /// Whether Python's `if value:` would be taken.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::LongInt(_) => true,
            // NaN is true.
            Self::Float(value) => *value != 0.0,
            Self::Str(text) | Self::BrokenStr(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Object(object) => !object.is_empty(),
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, if it is an object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Json]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The truth value, if it is `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if it is a whole number that fits.
    pub fn as_usize(&self) -> Option<usize> {
        match self {
            Self::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }
}

impl Object {
    /// A key that comes again keeps its place, and has the new value.
    fn of(entries: Vec<(String, Json)>) -> Self {
        Self(Box::new(entries.into_iter().collect()))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }

    /// The value of a key, unless it is `null`.
    pub fn get_some(&self, key: &str) -> Option<&Json> {
        self.get(key).filter(|value| **value != Json::Null)
    }

    /// Sets the value of a key. A new key comes last.
    pub fn insert(&mut self, key: &str, value: Json) {
        self.0.insert(key.into(), value);
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        self.0.shift_remove(key)
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How much of a value [`Json`]'s `Display` shows.
const SHOWN_CHARS: usize = 60;

/// For messages: as in a file, and its beginning only if it is long.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        match text.char_indices().nth(SHOWN_CHARS) {
            None => f.write_str(&text),
            Some((end, _)) => write!(f, "{}…", &text[..end]),
        }
    }
}

impl Json {
    /// Appends the value, until there is more than is shown.
    fn write(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => text.push_str(&value.to_string()),
            Self::LongInt(value) => text.push_str(&format!("{value:e}")),
            Self::Float(value) => text.push_str(&format!("{value:?}")),
            Self::Str(value) | Self::BrokenStr(value) => {
                let shown: String = value.chars().take(SHOWN_CHARS).collect();
                text.push_str(&format!("{shown:?}"));
            }
            Self::List(items) => {
                text.push('[');
                for (i, item) in items.iter().enumerate() {
                    if text.len() > 4 * SHOWN_CHARS {
                        break;
                    }
                    text.push_str(if i == 0 { "" } else { ", " });
                    item.write(text);
                }
                text.push(']');
            }
            Self::Object(object) => {
                text.push('{');
                for (i, (key, value)) in object.iter().enumerate() {
                    if text.len() > 4 * SHOWN_CHARS {
                        break;
                    }
                    text.push_str(if i == 0 { "" } else { ", " });
                    Self::Str(key.into()).write(text);
                    text.push_str(": ");
                    value.write(text);
                }
                text.push('}');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Json {
        Json::parse(json.as_bytes()).expect(json)
    }

    #[test]
    fn truth_is_pythons() {
        for json in ["null", "false", "0", "-0", "0.0", "-0.0", "\"\"", "[]", "{}"] {
            assert!(!parse(json).is_true(), "{json}");
        }
        for json in ["true", "1", "-1", "0.1", "NaN", "\"0\"", "[0]", "{\"\": null}", "1e400"] {
            assert!(parse(json).is_true(), "{json}");
        }
    }

    #[test]
    fn an_object_keeps_its_order() {
        let Json::Object(mut object) = parse(r#"{"b": 1, "a": 2, "b": 3}"#) else {
            panic!("an object");
        };
        let keys =
            |object: &Object| object.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&object), ["b", "a"]);
        assert_eq!(object.get("b"), Some(&Json::Int(3)));
        object.insert("c", Json::Null);
        object.insert("b", Json::Null);
        assert_eq!(keys(&object), ["b", "a", "c"]);
        assert_eq!(object.get_some("b"), None);
        assert_eq!(object.remove("a"), Some(Json::Int(2)));
        assert_eq!(object.remove("a"), None);
        assert_eq!(keys(&object), ["b", "c"]);
    }

    #[test]
    fn a_copy_of_many_entries_takes_little_time() {
        let json: String = (0..60_000).map(|i| format!("\"{i:06}\": 0,")).collect();
        let Json::Object(object) = parse(&format!("{{{json} \"\": 0}}")) else {
            panic!("an object");
        };
        let started = std::time::Instant::now();
        let mut copy = Object::default();
        object.iter().for_each(|(key, value)| copy.insert(key, value.clone()));
        assert_eq!(copy, object);
        // Of 0.6 MB; one key looked for behind the other it takes 6 s.
        assert!(started.elapsed().as_secs() < 3);
    }

    #[test]
    fn values_are_shown_as_in_a_file_and_shortened() {
        for json in ["null", "true", "12", "1.5", "\"a\\\"b\"", "[1, \"x\"]", "{\"a\": [null]}"] {
            assert_eq!(parse(json).to_string(), json);
        }
        let long = format!("[{}1]", "[], ".repeat(100_000));
        assert_eq!(
            parse(&long).to_string(),
            format!("[{}…", "[], ".repeat(15).trim_end().split_at(59).0)
        );
        assert_eq!(parse(&format!("\"{}\"", "é".repeat(99))).to_string().chars().count(), 61);
    }
}
