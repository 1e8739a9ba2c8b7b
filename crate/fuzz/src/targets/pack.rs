//! The packer, in a temporary folder with three others: `in`, what is packed; `out`, which may hold anything before;
//! and `outside`, which nobody may touch.
//!
//! A name that begins with `out/` or `outside/` is a file there, any other one in `in`. `name -> target` is a link,
//! for which `zero` stands for an endless file, and `name |` a pipe or, where no program makes one, nothing. `{pid}`
//! in a name is this process's id. The file `options` may have the words `in-place` and `bits=N`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{self, Command};

use burn::tensor::Device;
use embervec_embed::{EncodeOptions, WeightDtype, open_folder};
use embervec_pack::{MANIFEST_JSON, Options, pack};
use embervec_weights::Shards;

use crate::archive::Archive;
use crate::weights::weight_file;

/// An archive has no more files.
const MAX_FILES: usize = 40;

/// Where weights are made, if nothing else is there.
const WEIGHTS: [&str; 3] =
    ["model.safetensors", "2_Dense/model.safetensors", "0_Transformer/model.safetensors"];

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let archive = Archive::parse(bytes);
    let temporary = Temporary::new()?;
    let size = bytes.len() + lay_out(&archive, &temporary.0).map_err(|error| error.to_string())?;
    let [input, output, outside] = ["in", "out", "outside"].map(|name| temporary.0.join(name));

    let words = String::from_utf8_lossy(archive.get("options").unwrap_or_default()).into_owned();
    let is_in_place = words.contains("in-place");
    let bits = words.split_once("bits=").and_then(|(_, bits)| bits.trim().parse().ok());
    let options = Options {
        folder: input.clone(),
        output: (!is_in_place).then(|| output.clone()),
        table_bits: bits.filter(|bits| (4..=8).contains(bits)).unwrap_or(8),
    };
    let [input_before, output_before, outside_before] =
        [&input, &output, &outside].map(|it| listing(it));
    let packed = pack(&options);
    let [input_after, output_after, outside_after] =
        [&input, &output, &outside].map(|it| listing(it));

    if outside_before != outside_after {
        return Err(format!("files outside were {outside_before:?} and are {outside_after:?}"));
    }
    let (target_before, target_after) = match is_in_place {
        true => (&input_before, &input_after),
        false => (&output_before, &output_after),
    };
    let is_untouched = match is_in_place {
        true => output_before == output_after,
        false => input_before == input_after,
    };
    if !is_untouched {
        return Err(format!("{input_before:?} has become {input_after:?}"));
    }
    let is_partial =
        |name: &&String| name.contains(".partial-") && !target_before.contains_key(*name);
    if let Some(name) = target_after.keys().find(is_partial) {
        return Err(format!("{name} is left"));
    }
    let packed = match packed {
        Ok(packed) => packed,
        Err(error) => {
            let message = format!("{error:#}");
            // The folder itself, and then something in it.
            return match message
                .strip_prefix("cannot pack ")
                .is_some_and(|rest| rest.contains(": "))
            {
                true => Ok(size),
                false => Err(format!("this error names nothing: {message}")),
            };
        }
    };
    if !target_after.contains_key(MANIFEST_JSON) || !target_after.contains_key(&packed.weights) {
        return Err(format!("packed, but there is only {:?}", target_after.keys()));
    }
    let embedder = open_folder(&packed.folder, WeightDtype::Q8, &Device::flex())
        .map_err(|error| format!("packed, but not loaded: {error}"))?;
    if let Ok(encoded) = embedder.encode(&["a text"], &EncodeOptions::default())
        && !encoded.vectors.iter().all(|x| x.is_finite())
    {
        return Err(format!("{:?}", encoded.vectors));
    }
    Ok(size)
}

/// A folder that is gone when the case is over.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("embervec-fuzz-{}", process::id()));
        // Of a case that was cut short.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes the files; gives the bytes of the weights among them that the archive does not have.
fn lay_out(archive: &Archive, root: &Path) -> std::io::Result<usize> {
    for folder in ["in", "out", "outside"] {
        fs::create_dir(root.join(folder))?;
    }
    fs::write(root.join("outside/secret"), "nobody touches this")?;
    for (name, content) in archive.files.iter().take(MAX_FILES) {
        let name = name.replace("{pid}", &process::id().to_string());
        let (name, link) = match name.split_once(" -> ") {
            Some((name, link)) => (name, Some(link)),
            None => (&*name, None),
        };
        let (name, is_pipe) = match name.strip_suffix(" |") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let Some(path) = place(root, name) else { continue };
        // What is there first stays: a pipe would be waited for.
        if path.symlink_metadata().is_ok()
            || path.parent().is_some_and(|parent| fs::create_dir_all(parent).is_err())
        {
            continue;
        }
        // What cannot be there is not there.
        let _ = match link {
            Some(link) => make_link(root, link, &path),
            None if is_pipe => Command::new("mkfifo").arg(&path).output().map(drop),
            None => fs::write(&path, content),
        };
    }
    let mut size = 0;
    let index = archive.get("model.safetensors.index.json");
    let shards = index.and_then(|json| Shards::from_json("", json).ok());
    let shards = shards.iter().flat_map(|shards| &shards.files).map(String::as_str);
    for path in WEIGHTS.into_iter().chain(shards.take(MAX_FILES)) {
        let Some(target) = place(root, path) else { continue };
        let has_folder = target.parent().is_some_and(Path::is_dir);
        if has_folder
            && target.symlink_metadata().is_err()
            && let Some(content) = weight_file(archive, path)
        {
            size += content.len();
            fs::write(target, content)?;
        }
    }
    Ok(size)
}

/// Where an archive's file is to be; `None` for what would lie elsewhere.
fn place(root: &Path, name: &str) -> Option<PathBuf> {
    let is_in = |name: &str| {
        let path = Path::new(name);
        let is_plain = |part| matches!(part, Component::Normal(_));
        name.len() < 200
            && !name.contains('\0')
            && path.components().all(is_plain)
            && !name.is_empty()
    };
    if !is_in(name) || name.ends_with('/') {
        return None;
    }
    let is_elsewhere = name.starts_with("out/") || name.starts_with("outside/");
    let path = if is_elsewhere { root.join(name) } else { root.join("in").join(name) };
    // A link on the way would lead away.
    let mut parents = path.ancestors().skip(1).take_while(|parent| *parent != root);
    parents.all(|parent| !parent.is_symlink()).then_some(path)
}

#[cfg(unix)]
fn make_link(root: &Path, target: &str, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::symlink;
    match target {
        "zero" => symlink("/dev/zero", path),
        _ => match place(root, target) {
            Some(target) => symlink(target, path),
            None => Ok(()),
        },
    }
}

#[cfg(not(unix))]
fn make_link(_: &Path, _: &str, _: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Everything in a folder by path, links not followed.
fn listing(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            let content = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {
                    folders.push(path);
                    b"a folder".to_vec()
                }
                Ok(found) if found.is_file() => fs::read(&path).unwrap_or_default(),
                Ok(found) if found.is_symlink() => {
                    fs::read_link(&path).unwrap_or_default().to_string_lossy().into_owned().into()
                }
                _ => b"neither file nor folder".to_vec(),
            };
            all.insert(name, content);
        }
    }
    all
}
