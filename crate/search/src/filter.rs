//! Filters in MongoDB's operators.

use embervec_json::{Json, Object};

use crate::columns::Key;
use crate::error::{Error, Result};

/// Bytes of a filter.
const MAX_BYTES: usize = 1 << 20;

/// Operators within operators.
const MAX_DEPTH: usize = 32;

/// Conditions, each of which costs a pass over one bit a row.
const MAX_CONDITIONS: usize = 1024;

/// What a row's metadata have to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Each of these holds.
    All(Vec<Filter>),
    /// One of these holds.
    Any(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// There is something at this place.
    Exists(String),
    /// The value at this place, or an item of a list there, is one of these. A missing value counts as `null`.
    In(String, Vec<Key>),
    /// The value at this place, or an item of a list there, is of the same type as this value and compares so with it.
    Compare(String, Comparison, Key),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Filter {
    /// Reads and checks a filter.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() > MAX_BYTES {
            return Err(Error::invalid(format!("the filter is longer than {MAX_BYTES} bytes")));
        }
        let value = Json::parse(json.as_bytes())
            .map_err(|error| Error::invalid(format!("the filter {error}")))?;
        let mut parser = Parser { conditions: 0 };
        parser.filter(&value, &Place(Vec::new()))
    }
}

/// Keys from the filter's root on, for messages.
#[derive(Clone)]
struct Place<'a>(Vec<&'a str>);

impl<'a> Place<'a> {
    fn at(&self, key: &'a str) -> Self {
        Self(self.0.iter().copied().chain([key]).collect())
    }

    fn error(&self, problem: &str) -> Error {
        match self.0.is_empty() {
            true => Error::invalid(format!("filter: {problem}")),
            false => Error::invalid(format!("filter, at {}: {problem}", self.0.join(" → "))),
        }
    }
}

struct Parser {
    conditions: usize,
}

impl Parser {
    fn count(&mut self, place: &Place) -> Result<()> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(place.error(&format!("there are more than {MAX_CONDITIONS} conditions")));
        }
        if place.0.len() > MAX_DEPTH {
            return Err(place.error(&format!("operators are nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    fn filter(&mut self, value: &Json, place: &Place) -> Result<Filter> {
        self.count(place)?;
        let Json::Object(entries) = value else {
            return Err(place.error("a filter must be an object"));
        };
        let mut all = Vec::new();
        for (key, value) in entries.iter() {
            let place = place.at(key);
            all.push(match key {
                "$and" => Filter::All(self.filters(value, &place)?),
                "$or" => Filter::Any(self.filters(value, &place)?),
                "$not" => Filter::Not(Box::new(self.filter(value, &place)?)),
                _ if key.starts_with('$') => {
                    return Err(place.error(
                        "unknown operator; use $and, $or, $not or the name of a metadata field",
                    ));
                }
                _ => self.field(key, value, &place)?,
            });
        }
        Ok(one_or_all(all))
    }

    fn filters(&mut self, value: &Json, place: &Place) -> Result<Vec<Filter>> {
        match value {
            Json::List(items) if !items.is_empty() => {
                items.iter().map(|item| self.filter(item, place)).collect()
            }
            _ => Err(place.error("the value must be an array of at least one filter")),
        }
    }

    fn field(&mut self, name: &str, value: &Json, place: &Place) -> Result<Filter> {
        self.count(place)?;
        match value {
            Json::Object(operators) => self.operators(name, operators, place),
            _ => Ok(Filter::In(name.into(), vec![key(value, place)?])),
        }
    }

    fn operators(&mut self, name: &str, operators: &Object, place: &Place) -> Result<Filter> {
        let mut all = Vec::new();
        for (operator, value) in operators.iter() {
            let place = place.at(operator);
            self.count(&place)?;
            let compare = |comparison| match key(value, &place)? {
                key @ (Key::Number(_) | Key::Text(_)) => {
                    Ok(Filter::Compare(name.into(), comparison, key))
                }
                Key::Null | Key::Bool(_) => {
                    Err(place.error("the value must be a number or a string"))
                }
            };
            let is = |keys| Filter::In(name.into(), keys);
            all.push(match operator {
                "$eq" => is(vec![key(value, &place)?]),
                "$ne" => Filter::Not(Box::new(is(vec![key(value, &place)?]))),
                "$in" => is(keys(value, &place)?),
                "$nin" => Filter::Not(Box::new(is(keys(value, &place)?))),
                "$gt" => compare(Comparison::Greater)?,
                "$gte" => compare(Comparison::GreaterOrEqual)?,
                "$lt" => compare(Comparison::Less)?,
                "$lte" => compare(Comparison::LessOrEqual)?,
                "$exists" => match value {
                    Json::Bool(true) => Filter::Exists(name.into()),
                    Json::Bool(false) => Filter::Not(Box::new(Filter::Exists(name.into()))),
                    _ => return Err(place.error("the value must be true or false")),
                },
                "$not" => match value {
                    Json::Object(operators) if !operators.is_empty() => {
                        Filter::Not(Box::new(self.operators(name, operators, &place)?))
                    }
                    _ => return Err(place.error("the value must be an object of operators")),
                },
                _ if operator.starts_with('$') => {
                    return Err(place.error(
                        "unknown operator; use $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists or $not",
                    ));
                }
                _ => {
                    return Err(place.error(&format!(
                        "an object here must hold operators; for a nested value, write \"{name}.{operator}\""
                    )));
                }
            });
        }
        match all.is_empty() {
            true => Err(place.error("an object here must hold operators, such as { $eq: … }")),
            false => Ok(one_or_all(all)),
        }
    }
}

fn one_or_all(mut filters: Vec<Filter>) -> Filter {
    match filters.pop() {
        Some(filter) if filters.is_empty() => filter,
        last => {
            filters.extend(last);
            Filter::All(filters)
        }
    }
}

fn key(value: &Json, place: &Place) -> Result<Key> {
    Key::of(value)
        .ok_or_else(|| place.error("a value must be a string, a number, true, false or null"))
}

fn keys(value: &Json, place: &Place) -> Result<Vec<Key>> {
    match value {
        Json::List(items) => items.iter().map(|item| key(item, place)).collect(),
        _ => Err(place.error("the value must be an array")),
    }
}
