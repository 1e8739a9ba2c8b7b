//! JSON for mutations: what a file says is kept as it is written, however wrong, and a key may come twice.

/// Deeper values are left to mutations of bytes.
const MAX_DEPTH: usize = 100;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// A string with its quotes, a number, or whatever stands in the place of one.
    Raw(Vec<u8>),
    /// `[…]`
    List(Vec<Tree>),
    /// `{…}`; keys as in [`Tree::Raw`].
    Object(Vec<(Vec<u8>, Tree)>),
}

impl Tree {
    /// Reads a value.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parser = Parser { bytes, at: 0 };
        let tree = parser.value(0)?;
        parser.skip_space();
        (parser.at == bytes.len()).then_some(tree)
    }

    /// A string or number as it stands in a file.
    pub fn raw(text: impl AsRef<[u8]>) -> Self {
        Self::Raw(text.as_ref().to_vec())
    }

    /// The value as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw(text) => out.extend_from_slice(text),
            Self::List(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(entries) => {
                out.push(b'{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// The value of a key, quotes left out.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Self::Object(entries) = self else { return None };
        let is_it = |name: &[u8]| name.get(1..name.len() - 1) == Some(key.as_bytes());
        entries.iter_mut().find(|(name, _)| is_it(name)).map(|(_, value)| value)
    }

    /// The values directly in it.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::Raw(_) => Box::new(std::iter::empty()),
            Self::List(items) => Box::new(items.iter()),
            Self::Object(entries) => Box::new(entries.iter().map(|(_, value)| value)),
        }
    }

    /// The value directly in it of this index.
    pub fn child_mut(&mut self, index: usize) -> Option<&mut Self> {
        match self {
            Self::Raw(_) => None,
            Self::List(items) => items.get_mut(index),
            Self::Object(entries) => entries.get_mut(index).map(|(_, value)| value),
        }
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Takes this byte and the space in front of it, where it comes next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn value(&mut self, depth: usize) -> Option<Tree> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take(b'[') {
            let mut items = Vec::new();
            if self.take(b']') {
                return Some(Tree::List(items));
            }
            loop {
                items.push(self.value(depth + 1)?);
                match self.take(b',') {
                    true => {}
                    false => return self.take(b']').then_some(Tree::List(items)),
                }
            }
        }
        if self.take(b'{') {
            let mut entries = Vec::new();
            if self.take(b'}') {
                return Some(Tree::Object(entries));
            }
            loop {
                self.skip_space();
                let key = self.raw()?;
                if !self.take(b':') {
                    return None;
                }
                entries.push((key, self.value(depth + 1)?));
                match self.take(b',') {
                    true => {}
                    false => return self.take(b'}').then_some(Tree::Object(entries)),
                }
            }
        }
        self.raw().map(Tree::Raw)
    }

    fn raw(&mut self) -> Option<Vec<u8>> {
        let start = self.at;
        if self.peek() == Some(b'"') {
            self.at += 1;
            loop {
                match self.peek()? {
                    b'"' => break,
                    b'\\' => self.at += 2,
                    _ => self.at += 1,
                }
            }
            self.at += 1;
        } else {
            let ends = |byte: u8| b",:[]{}\"".contains(&byte) || byte.is_ascii_whitespace();
            while self.peek().is_some_and(|byte| !ends(byte)) {
                self.at += 1;
            }
        }
        (self.at > start).then(|| self.bytes[start..self.at].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_written_as_it_was_read() {
        for json in [
            r#"{"a":1,"a":[],"b":{"c":[NaN,"x\"]","\ud800"]}}"#,
            "1e999",
            r#"["",{},[[]]]"#,
            r#"{"a":tru}"#,
        ] {
            let tree = Tree::parse(json.as_bytes()).expect(json);
            assert_eq!(String::from_utf8(tree.to_bytes()).expect("UTF-8"), json);
        }
        for json in ["", "{", "[1,]", r#"{"a"}"#, r#"""#, r#""\"#, "1 2", "[}"] {
            assert_eq!(Tree::parse(json.as_bytes()), None, "{json}");
        }
        assert_eq!(Tree::parse(&[b'['; 200]), None);
    }
}
