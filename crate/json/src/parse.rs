//! The reader: <https://github.com/python/cpython/blob/v3.11.7/Lib/json/decoder.py> and `scanner.py` in plain Rust.

use std::str;

use crate::{Json, Object};

const MAX_DEPTH: usize = 500;

/// A value takes up to 200 bytes, which would be a hundred times a file of `0,0,0…`. The largest files that are read with
/// this have some 20,000: of each of a few thousand tokens, what it is and seven flags.
const MAX_VALUES: usize = 1 << 17;

/// Python refuses to read longer integers (`sys.get_int_max_str_digits`).
const MAX_DIGITS: usize = 4300;

/// Why a file is not JSON, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("is not JSON: {problem} at line {line}, column {column}")]
pub struct ParseError {
    problem: &'static str,
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
}

pub fn parse(bytes: &[u8]) -> Result<Json, ParseError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let valid = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        error_at(valid, valid.len(), "a byte that is not UTF-8")
    })?;
    if text.starts_with('\u{feff}') {
        return Err(error_at(text, 0, "a byte order mark"));
    }
    let mut reader = Reader { text, at: 0, values: 0 };
    let read = reader.value(0).and_then(|value| {
        reader.skip_white_space();
        if reader.at == text.len() { Ok(value) } else { Err("unexpected text after the end") }
    });
    read.map_err(|problem| error_at(text, reader.at, problem))
}

fn error_at(text: &str, at: usize, problem: &'static str) -> ParseError {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    ParseError { problem, line, column }
}

/// Or what is wrong at [`Reader::at`].
type Read<T> = Result<T, &'static str>;

struct Reader<'a> {
    text: &'a str,
    /// A border of characters.
    at: usize,
    /// How many have begun.
    values: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether this comes next; then it is taken.
    fn take(&mut self, expected: &str) -> bool {
        let is_next = self.text[self.at..].starts_with(expected);
        self.at += if is_next { expected.len() } else { 0 };
        is_next
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Read<Json> {
        self.skip_white_space();
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err("more than 131072 values");
        }
        match self.peek() {
            None => Err("a value is missing"),
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err("values are nested too deeply"),
            Some(b'{') => self.object(depth).map(Json::Object),
            Some(b'[') => self.list(depth).map(Json::List),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') if !self.text[self.at..].starts_with("-I") => self.number(),
            Some(_) => self.word(),
        }
    }

    fn word(&mut self) -> Read<Json> {
        let words = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("NaN", Json::Float(f64::NAN)),
            ("Infinity", Json::Float(f64::INFINITY)),
            ("-Infinity", Json::Float(f64::NEG_INFINITY)),
        ];
        let word = words.into_iter().find(|(word, _)| self.take(word));
        word.map(|(_, value)| value).ok_or("an unknown value")
    }

    fn object(&mut self, depth: usize) -> Read<Object> {
        self.at += 1;
        let mut entries: Vec<(String, Json)> = Vec::new();
        self.skip_white_space();
        if self.take("}") {
            return Ok(Object::default());
        }
        loop {
            self.skip_white_space();
            if self.peek() != Some(b'"') {
                return Err("a key in double quotes is missing");
            }
            let (Json::Str(key) | Json::BrokenStr(key)) = self.string()? else {
                return Err("a key is missing");
            };
            self.skip_white_space();
            if !self.take(":") {
                return Err("a colon is missing");
            }
            let value = self.value(depth + 1)?;
            entries.push((key, value));
            self.skip_white_space();
            if self.take("}") {
                return Ok(Object::of(entries));
            }
            if !self.take(",") {
                return Err("a comma is missing");
            }
        }
    }

    fn list(&mut self, depth: usize) -> Read<Vec<Json>> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_white_space();
        if self.take("]") {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_white_space();
            if self.take("]") {
                // Of lists of one value each, three quarters would be room for more.
                items.shrink_to_fit();
                return Ok(items);
            }
            if !self.take(",") {
                return Err("a comma is missing");
            }
        }
    }

    fn string(&mut self) -> Read<Json> {
        self.at += 1;
        let mut text = String::new();
        let mut is_broken = false;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ');
            let plain = plain.ok_or("a string that does not end")?;
            text.push_str(&rest[..plain]);
            self.at += plain;
            if self.take("\"") {
                return Ok(if is_broken { Json::BrokenStr(text) } else { Json::Str(text) });
            }
            if !self.take("\\") {
                return Err("a control character in a string");
            }
            match self.escape()? {
                Some(character) => text.push(character),
                None => {
                    is_broken = true;
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }

    /// What stands behind a backslash; `None` for a half of a surrogate pair.
    fn escape(&mut self) -> Read<Option<char>> {
        let escapes = [
            ("\"", '"'),
            ("\\", '\\'),
            ("/", '/'),
            ("b", '\u{8}'),
            ("f", '\u{c}'),
            ("n", '\n'),
            ("r", '\r'),
            ("t", '\t'),
        ];
        if let Some((_, character)) = escapes.into_iter().find(|(escape, _)| self.take(escape)) {
            return Ok(Some(character));
        }
        if !self.take("u") {
            return Err("an unknown escape sequence");
        }
        let unit = self.hexadecimal()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return Ok(char::from_u32(unit));
        }
        let after_first = self.at;
        if self.take("\\u") {
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                return Ok(char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00)));
            }
            self.at = after_first;
        }
        Ok(None)
    }

    fn hexadecimal(&mut self) -> Read<u32> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let digits = digits.ok_or("an escape without four hexadecimal digits")?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| "an escape without four hexadecimal digits")
    }

    fn number(&mut self) -> Read<Json> {
        let start = self.at;
        self.take("-");
        // `012` is a 0 with something behind it.
        if !self.take("0") && self.digits() == 0 {
            return Err("a minus sign without a number");
        }
        let integer = self.at;
        for signs in [&["."][..], &["e+", "e-", "e", "E+", "E-", "E"]] {
            let before = self.at;
            let is_there = signs.iter().any(|sign| self.take(sign));
            // A point or an exponent without digits belongs to what follows.
            if is_there && self.digits() == 0 {
                self.at = before;
            }
        }
        let text = &self.text[start..self.at];
        if self.at > integer {
            return text.parse().map(Json::Float).map_err(|_| "a number that cannot be read");
        }
        if text.len() > MAX_DIGITS + usize::from(text.starts_with('-')) {
            return Err("an integer with too many digits");
        }
        match text.parse() {
            Ok(value) => Ok(Json::Int(value)),
            Err(_) => text.parse().map(Json::LongInt).map_err(|_| "a number that cannot be read"),
        }
    }

    /// Takes digits and counts them.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_reads_is_read() {
        let read = |json: &str| parse(json.as_bytes()).expect(json);
        assert_eq!(read(" \t\r\n null \n"), Json::Null);
        assert_eq!(read("-0"), Json::Int(0));
        assert_eq!(read("9223372036854775807"), Json::Int(i64::MAX));
        assert_eq!(read("9223372036854775808"), Json::LongInt(9_223_372_036_854_775_808.0));
        assert_eq!(read("1000000000000000019884624838656"), Json::LongInt(1e30));
        assert_eq!(read("1e2"), Json::Float(100.0));
        assert_eq!(read("-1.50E-1"), Json::Float(-0.15));
        assert_eq!(read("1e999"), Json::Float(f64::INFINITY));
        assert_eq!(read("-Infinity"), Json::Float(f64::NEG_INFINITY));
        assert!(matches!(read("NaN"), Json::Float(nan) if nan.is_nan()));
        assert_eq!(read(r#""é\u00e9\ud83d\ude00\n\/\"""#), Json::Str("éé\u{1f600}\n/\"".into()));
        assert_eq!(read("\"\u{7f}\u{2028}\""), Json::Str("\u{7f}\u{2028}".into()));
        for broken in [r#""\ud800""#, r#""\ude00""#] {
            assert_eq!(read(broken), Json::BrokenStr("\u{fffd}".into()));
        }
        assert_eq!(read(r#""\ud800\u0041""#), Json::BrokenStr("\u{fffd}A".into()));
        assert_eq!(read(r#""\ud800\ud83d\ude00""#), Json::BrokenStr("\u{fffd}\u{1f600}".into()));
        assert_eq!(read("[ ]"), Json::List(Vec::new()));
        assert_eq!(read("{ }"), Json::Object(Object::default()));
    }

    #[test]
    fn more_values_than_any_file_has_are_refused() {
        let zeros = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        // The list itself is one.
        parse(zeros(MAX_VALUES - 1).as_bytes()).expect("as many as may be");
        let error = parse(zeros(MAX_VALUES).as_bytes()).expect_err("one more");
        assert!(error.to_string().contains("more than 131072 values"), "{error}");
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for json in [
            "",
            " ",
            "nul",
            "nan",
            "inf",
            "+1",
            "-",
            "01",
            "1.",
            ".5",
            "1e",
            "1.e1",
            "0x1",
            "--1",
            "- 1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\": 1,}",
            "{a: 1}",
            "{'a': 1}",
            "{\"a\" 1}",
            "{\"a\"}",
            "{1: 2}",
            "\"a",
            "\"\t\"",
            "\"\n\"",
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\u+123""#,
            "1 2",
            "null,",
            "// a\n1",
            "1 /* a */",
            "\u{feff}1",
            "\u{a0}1",
            "[",
            "{",
            "[1",
            "{\"a\": ",
            "tru",
            "True",
            "None",
            "\"\\",
        ] {
            assert!(parse(json.as_bytes()).is_err(), "{json:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse(&b"1".repeat(4301)).is_err());
        assert!(parse(&b"1".repeat(4300)).is_ok());
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(500).as_bytes()).is_ok());
        assert!(parse(nested(501).as_bytes()).is_err());
        assert!(parse("[".repeat(1 << 20).as_bytes()).is_err());
        assert!(parse("{\"\":".repeat(1 << 20).as_bytes()).is_err());
    }

    #[test]
    fn an_error_says_where() {
        let error = parse("{\n  \"é\": 1,\n}".as_bytes()).expect_err("a trailing comma");
        assert_eq!(
            error.to_string(),
            "is not JSON: a key in double quotes is missing at line 3, column 1"
        );
        let error = parse(b"[\"\xc3\xa9\", \xe9]").expect_err("Latin-1");
        assert_eq!(error.to_string(), "is not JSON: a byte that is not UTF-8 at line 1, column 7");
    }

    #[test]
    fn many_keys_take_little_time() {
        let json: String = (0..120_000).map(|i| format!("\"{}\": {i},", i % 60_000)).collect();
        let json = format!("{{{} \"end\": 0}}", json);
        let started = std::time::Instant::now();
        let Json::Object(object) = parse(json.as_bytes()).expect("valid") else {
            panic!("an object")
        };
        assert_eq!(object.iter().count(), 60_001);
        assert!(started.elapsed().as_secs() < 5);
    }
}
