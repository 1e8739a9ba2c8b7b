//! Several files in one input, readable and editable by hand:
//!
//! ```text
//! -- modules.json --
//! [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
//! -- config.json --
//! {"model_type": "bert"}
//! ```
//!
//! A file ends before the line feed in front of the next name. Any bytes are an archive; what is before the first
//! name is dropped. A file that comes twice is there once, as it came last.

/// Files by name, in the order of their appearance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Archive {
    /// Names and contents; each name once.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Archive {
    /// Reads an archive.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut archive = Self::default();
        let mut current: Option<(String, Vec<u8>)> = None;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if let Some(name) = name_of(line) {
                if let Some((name, mut content)) = current.replace((name.into(), Vec::new())) {
                    content.pop();
                    archive.put(&name, content);
                }
            } else if let Some((_, content)) = &mut current {
                content.extend_from_slice(line);
            }
        }
        if let Some((name, content)) = current {
            archive.put(&name, content);
        }
        archive
    }

    /// The bytes of which [`Archive::parse`] makes this archive, where no content has a line that looks like a name.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (i, (name, content)) in self.files.iter().enumerate() {
            if i > 0 {
                bytes.push(b'\n');
            }
            bytes.extend_from_slice(format!("-- {name} --\n").as_bytes());
            bytes.extend_from_slice(content);
        }
        bytes
    }

    /// A file's content.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(other, _)| other == name).map(|(_, content)| &content[..])
    }

    /// Adds or replaces a file.
    pub fn put(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        match self.files.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = content.into(),
            None => self.files.push((name.into(), content.into())),
        }
    }

    /// Takes a file out.
    pub fn remove(&mut self, name: &str) -> Option<Vec<u8>> {
        let index = self.files.iter().position(|(other, _)| other == name)?;
        Some(self.files.remove(index).1)
    }

    /// This archive with a file more, for building one in a row.
    #[must_use]
    pub fn with(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.put(name, content);
        self
    }

    /// Bytes of all contents.
    pub fn len(&self) -> usize {
        self.files.iter().map(|(_, content)| content.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn name_of(line: &[u8]) -> Option<&str> {
    let name = line.strip_prefix(b"-- ")?.strip_suffix(b" --\n")?;
    std::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_was_written() {
        let archive = Archive::default()
            .with("a.json", "{}\n")
            .with("empty", "")
            .with("b/c", &b"\xff\n\n-- --\n"[..]);
        assert_eq!(Archive::parse(&archive.to_bytes()), archive);
        let twice = Archive::parse(b"dropped\n-- a --\n1\n-- b --\n2\n-- a --\n3");
        assert_eq!(twice, Archive::default().with("a", "3").with("b", "2"));
    }
}
