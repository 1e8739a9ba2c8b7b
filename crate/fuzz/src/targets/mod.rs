//! What is fuzzed: functions of bytes that say what is wrong, by name.

mod config;
mod folder;
mod index;
mod index_folder;
mod json;
mod pack;
mod tokenizer;
mod weights;

use crate::mutate::Form;

/// One of the things that are fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and that of its folder of seeds.
    pub name: &'static str,
    /// How its inputs are made up.
    pub form: Form,
    /// Runs a case: gives the bytes of all its parts, or says what is wrong. Also wrong are a panic, and too much
    /// time or memory for so many bytes.
    pub run: fn(&[u8]) -> Result<usize, String>,
}

/// Everything that is fuzzed.
pub const TARGETS: &[Target] = &[
    Target { name: "json", form: Form::Json, run: json::run },
    Target { name: "config", form: Form::Json, run: config::run },
    Target { name: "weights", form: Form::Weights, run: weights::run },
    Target { name: "word_piece", form: Form::Archive, run: tokenizer::run },
    Target { name: "unigram", form: Form::Archive, run: tokenizer::run },
    Target { name: "bpe", form: Form::Archive, run: tokenizer::run },
    Target { name: "word_level", form: Form::Archive, run: tokenizer::run },
    Target { name: "vocab_txt", form: Form::Archive, run: tokenizer::run },
    Target { name: "folder", form: Form::Archive, run: folder::run },
    Target { name: "pack", form: Form::Archive, run: pack::run },
    Target { name: "index", form: Form::Archive, run: index::run },
    Target { name: "index_folder", form: Form::Archive, run: index_folder::run },
];

/// What is wrong with a message, which must say what it is about.
fn check_message(message: &str, names: &[&str]) -> Result<(), String> {
    match names.iter().any(|name| message.contains(name)) {
        true => Ok(()),
        false => Err(format!("this error names nothing: {message}")),
    }
}

/// What is wrong: both should be the same.
fn check_same<T: PartialEq + std::fmt::Debug>(what: &str, a: &T, b: &T) -> Result<(), String> {
    match a == b {
        true => Ok(()),
        false => Err(format!("{what}: {a:?} and {b:?}")),
    }
}
