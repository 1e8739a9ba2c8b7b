//! Encodes texts with a model folder on disk and prints one JSON array a line.
//!
//! `cargo run --release -p embervec-embed --example encode -- MODEL_DIR "a text" "another"`

use std::error::Error;
use std::path::Path;

use burn::tensor::Device;
use embervec_embed::{EncodeOptions, WeightDtype, open_folder};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: encode MODEL_DIR TEXT...")?;
    let texts: Vec<String> = arguments.collect();
    let embedder = open_folder(Path::new(&folder), WeightDtype::Fp32, &Device::flex())?;
    let encoded = embedder.encode(&texts, &EncodeOptions::default())?;
    for vector in encoded.vectors.chunks_exact(encoded.dimension) {
        println!("{vector:?}");
    }
    Ok(())
}
