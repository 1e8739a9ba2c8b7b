//! The weights of a model, from a file that arrives piece by piece.
//!
//! ```text
//! KeyTable: what a model wants ─┐
//! model.safetensors ─► Header ──┴─► TensorReader ─► Weights
//!                                        └─► in 8 bits: another safetensors file, to be kept in place of the original
//! ```

mod error;
mod header;
mod key_table;
pub mod limits;
mod q8_file;
mod reader;
mod shards;
mod weights;

pub use error::Error;
pub use header::Header;
pub use key_table::{ANY, ChunkGroups, KeyTable, Quantization};
pub use reader::TensorReader;
pub use shards::{Shards, merge_headers};
pub use weights::{Values, WeightDtype, Weights};

/// The result of every function here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
