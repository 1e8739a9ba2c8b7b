//! Inputs that nobody has written yet but anybody can write: whatever their bytes are, nothing panics, hangs or takes
//! the machine's memory, and what is computed is sound.
//!
//! ```text
//! seeds: the fixtures, and inputs that have found a fault ─► Mutator ─► check(target, input)
//! ```
//!
//! `cargo test` runs the seeds and some edits of them, and needs no tool. `cargo xtask fuzz` lets libFuzzer choose
//! the edits by the code that they reach.

pub mod archive;
mod check;
pub mod mutate;
pub mod random;
pub mod seeds;
mod targets;
mod texts;
mod tree;
mod weights;

pub use check::{check, keep_panics};
pub use targets::{TARGETS, Target};
