//! The files that a tokenizer is made of.

use std::collections::BTreeMap;

use embervec_json::{Json, Object};

use crate::{Error, Result};

/// The small files of a model folder, by path, as seen from one of its folders.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    files: &'a BTreeMap<String, Vec<u8>>,
    folder: &'a str,
}

impl<'a> Files<'a> {
    /// The files of `folder`, which is "" for the model's own.
    pub fn new(files: &'a BTreeMap<String, Vec<u8>>, folder: &'a str) -> Self {
        Self { files, folder }
    }

    /// A file's path within the model folder.
    pub fn path(&self, name: &str) -> String {
        if self.folder.is_empty() { name.into() } else { format!("{}/{name}", self.folder) }
    }

    /// A file's bytes, if it exists.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.files.get(&self.path(name)).map(Vec::as_slice)
    }

    /// A file's JSON, if it exists.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for what Python cannot read.
    pub fn json(&self, name: &str) -> Result<Option<Json>> {
        let Some(bytes) = self.get(name) else { return Ok(None) };
        Json::parse(bytes).map(Some).map_err(|error| self.damaged(name, error))
    }

    /// The entries of a JSON file, if it exists.
    ///
    /// # Errors
    ///
    /// As [`Files::json`], and [`Error::InvalidFile`] if it is not an object.
    pub fn object(&self, name: &str) -> Result<Option<Object>> {
        match self.json(name)? {
            None => Ok(None),
            Some(Json::Object(object)) => Ok(Some(object)),
            Some(value) => Err(self.invalid(name, format!("is {value}, but must be an object"))),
        }
    }

    /// [`Error::Damaged`] of a file.
    pub fn damaged(&self, name: &str, problem: impl ToString) -> Error {
        Error::Damaged { file: self.path(name), problem: problem.to_string() }
    }

    /// [`Error::InvalidFile`] of a file.
    pub fn invalid(&self, name: &str, problem: impl ToString) -> Error {
        Error::InvalidFile { file: self.path(name), problem: problem.to_string() }
    }

    /// [`Error::Unsupported`] of a file.
    pub fn unsupported(&self, name: &str, what: impl ToString, supported: &str) -> Error {
        Error::Unsupported {
            file: self.path(name),
            what: what.to_string(),
            supported: supported.into(),
        }
    }
}
