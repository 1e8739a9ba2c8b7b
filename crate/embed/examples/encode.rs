//! Encodes texts with a model folder on disk and prints one JSON array a line.
//!
//! `cargo run --release -p embervec-embed --example encode -- MODEL_DIR "a text" "another"`

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use burn::tensor::Device;
use embervec_embed::{Embedder, EncodeOptions, FolderPlan, Loader};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: encode MODEL_DIR TEXT...")?;
    let texts: Vec<String> = arguments.collect();
    let embedder = open(Path::new(&folder))?;
    let encoded = embedder.encode(&texts, &EncodeOptions::default())?;
    for vector in encoded.vectors.chunks_exact(encoded.dimension) {
        println!("{vector:?}");
    }
    Ok(())
}

/// Reads a model folder; the weights in pieces, as they would come from a network.
fn open(folder: &Path) -> Result<Embedder, Box<dyn Error>> {
    let plan = FolderPlan::new(fs::read(folder.join("modules.json")).ok().as_deref())?;
    let (weights, small): (Vec<_>, Vec<_>) =
        plan.files().into_iter().partition(|file| file.weights);
    let small: BTreeMap<_, _> = small
        .into_iter()
        .filter_map(|file| Some((file.path.clone(), fs::read(folder.join(&file.path)).ok()?)))
        .collect();

    let mut loader = Loader::new(&plan, small, &Device::flex())?;
    let mut piece = vec![0; 1 << 20];
    for file in weights {
        let mut bytes = File::open(folder.join(&file.path))?;
        loader.begin_weights(&file.path, bytes.metadata()?.len())?;
        loop {
            let count = bytes.read(&mut piece)?;
            if count == 0 {
                break;
            }
            loader.push_weights(&piece[..count])?;
        }
        loader.end_weights()?;
    }
    Ok(loader.finish()?)
}
