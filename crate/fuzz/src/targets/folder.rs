//! A whole folder: its files as a loader asks for them, its weights, then texts. Weights that the archive does not
//! have are made to fit (see [`crate::weights`]); a file `no-weights` says that there are none.

use burn::tensor::Device;
use embervec_embed::{
    Embedder, EncodeOptions, Error, FileKind, Folder, Loader, Output, PoolingMode, Task,
    WeightDtype,
};

use super::check_message;
use crate::archive::Archive;
use crate::random::Random;
use crate::texts::{check_tokens, texts};
use crate::weights::weight_file;

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let archive = Archive::parse(bytes);
    let texts = texts(archive.get("texts.txt"));
    let mut size = bytes.len() + texts.iter().map(String::len).sum::<usize>();
    let mut random = Random::of(bytes);
    for dtype in [WeightDtype::Fp32, WeightDtype::Q8, WeightDtype::Fp16] {
        match load(&archive, dtype, &mut size, &mut random) {
            Ok(embedder) => {
                check_texts(&embedder, &texts)
                    .map_err(|problem| format!("{}: {problem}", dtype.name()))?;
            }
            Err(Error::InvalidInput(message)) => {
                return Err(format!("a folder is no call: {message}"));
            }
            Err(error) => {
                let names: Vec<&str> = archive.files.iter().map(|(name, _)| &name[..]).collect();
                let usual = ["modules.json", "config.json", "tokenizer", "model.safetensors"];
                check_message(&error.to_string(), &[&names[..], &usual].concat())?;
            }
        }
    }
    Ok(size)
}

fn load(
    archive: &Archive,
    dtype: WeightDtype,
    size: &mut usize,
    random: &mut Random,
) -> Result<Embedder, Error> {
    let mut folder = Folder::default();
    loop {
        let wanted = folder.wanted()?;
        if wanted.is_empty() {
            break;
        }
        for file in wanted {
            let is_there = match file.kind {
                FileKind::Small => {
                    let content = archive.get(&file.path);
                    if let Some(content) = content {
                        folder.put(&file.path, content.to_vec())?;
                    }
                    content.is_some()
                }
                FileKind::Weights => {
                    let is_there = weight_file(archive, &file.path).is_some();
                    if is_there {
                        folder.found(&file.path);
                    }
                    is_there
                }
                FileKind::Probe => {
                    let is_there = archive.get(&file.path).is_some();
                    if is_there {
                        folder.found(&file.path);
                    }
                    is_there
                }
            };
            if !is_there {
                folder.absent(&file.path);
            }
        }
    }
    let device = Device::flex();
    let mut loader = Loader::new(&folder, dtype, &device)?;
    for file in folder.weights()? {
        let packed = file.packed.as_deref().filter(|_| dtype == WeightDtype::Q8);
        let packed = packed.and_then(|path| Some((path, archive.get(path)?.to_vec())));
        let (path, content) = match packed {
            Some(packed) => packed,
            None => (&*file.path, weight_file(archive, &file.path).unwrap_or_default()),
        };
        *size += content.len();
        let is_known = random.once_in(2);
        loader.begin_weights(path, is_known.then_some(content.len() as u64))?;
        for piece in content.chunks(1 + random.below(content.len().max(1))) {
            loader.push_weights(piece)?;
            drop(loader.take_converted());
        }
        loader.end_weights()?;
    }
    loader.finish()
}

fn check_texts(embedder: &Embedder, texts: &[String]) -> Result<(), String> {
    let _ = (embedder.similarity(), embedder.prompts(), embedder.is_large());
    let default = EncodeOptions::default();
    // As in Python, a limit that the special tokens alone exceed is none.
    let special = embedder.tokenize("").map_or(usize::MAX, |tokens| tokens.input_ids.len());
    let limit = embedder.max_seq_length().filter(|limit| *limit >= special);
    let mut sound = Vec::new();
    let mut vectors = Vec::new();
    for text in texts {
        let shown = format!("{:.60}", format!("{text:?}"));
        let at = |problem: String| format!("{shown}: {problem}");
        match embedder.tokenize(text) {
            Ok(tokens) => check_tokens(text, &tokens, limit).map_err(at)?,
            Err(error) => check_message(&error.to_string(), &["the text"]).map_err(at)?,
        }
        match embedder.encode(&[text], &default) {
            Ok(encoded) => {
                if encoded.vectors.len() != encoded.dimension || encoded.token_counts.len() != 1 {
                    return Err(at(format!("{encoded:?}")));
                }
                if encoded.dimension != embedder.dimension() {
                    return Err(at(format!("{} dimensions", encoded.dimension)));
                }
                if !encoded.vectors.iter().all(|x| x.is_finite()) {
                    return Err(at(format!("{:?}", encoded.vectors)));
                }
                sound.push(text);
                vectors.extend(encoded.vectors);
            }
            Err(error) => {
                check_message(&error.to_string(), &["the text", "truncate_dim", "prompt"])
                    .map_err(at)?;
            }
        }
    }
    if sound.is_empty() {
        return Ok(());
    }
    let together = embedder
        .encode(&sound, &default)
        .map_err(|error| format!("each text is encoded, but not all together: {error}"))?;
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    if bits(&together.vectors) != bits(&vectors) {
        return Err("a text's vector depends on its neighbours".into());
    }
    for options in [
        EncodeOptions { task: Some(Task::Query), ..EncodeOptions::default() },
        EncodeOptions {
            task: Some(Task::Document),
            truncate_dim: Some(2),
            ..EncodeOptions::default()
        },
        EncodeOptions { output: Output::Token, ..EncodeOptions::default() },
        EncodeOptions {
            pooling: Some(vec![PoolingMode::Max, PoolingMode::LastToken]),
            normalize: Some(true),
            ..EncodeOptions::default()
        },
        EncodeOptions {
            normalize: Some(false),
            prompt: Some("a ".into()),
            ..EncodeOptions::default()
        },
    ] {
        for text in sound.iter().take(3) {
            // A folder may have no room for a prompt, or no pooling.
            if let Ok(encoded) = embedder.encode(&[text], &options)
                && !encoded.vectors.iter().all(|x| x.is_finite())
            {
                return Err(format!("{options:?}, {text:?}: {:?}", encoded.vectors));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;
    use crate::seeds::seeds;

    /// Else fuzzing would not get beyond the first check.
    #[test]
    fn the_fixtures_load() {
        let target = TARGETS.iter().find(|target| target.name == "folder").expect("a target");
        let mut count = 0;
        for (name, bytes) in seeds(target).expect("seeds") {
            if name.starts_with("tiny-") || name == "sharded" {
                let archive = Archive::parse(&bytes);
                let loaded = load(&archive, WeightDtype::Q8, &mut 0, &mut Random::new(0));
                let embedder = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
                embedder.encode(&["a"], &EncodeOptions::default()).expect("a vector");
                count += 1;
            }
        }
        assert!(count > 13, "{count}");
    }
}
