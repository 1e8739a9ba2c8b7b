//! Search in vectors and words: an exact scan, filters, and the files of an index.
//!
//! Every passage of a text is a *row*. An [`Index`] keeps one byte a dimension of each row's vector, its metadata and its words,
//! and answers which rows can be among the nearest ones; whoever has the vectors in `f32` then knows which ones are.

mod bits;
mod columns;
mod error;
mod filter;
#[cfg(feature = "folder")]
pub mod folder;
mod index;
mod parts;
mod scan;
mod terms;
mod vectors;
#[cfg(feature = "folder")]
mod words;

pub use error::{Error, Result};
pub use index::Index;
pub use scan::{Candidates, SIGNS_FROM};
pub use terms::{Rows, TermsBuilder};
pub use vectors::{MAX_DIMENSION, Similarity, quantize};
#[cfg(feature = "folder")]
pub use words::words_of;
