//! `cargo xtask tidy`: what a crate may depend on, where `unsafe` may stand, and how long a file may be. It reads files only,
//! and is a part of `lint` and of this crate's tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::sh;

/// Of every crate the dependencies that its room allows: crates of the workspace, and those of [`GUARDED`].
/// docs/ARCHITECTURE.md says what each room is.
const ROOMS: &[(&str, &[&str])] = &[
    ("corpora", &["json", "search", "tokenizer"]),
    ("embed", &["encoder", "json", "tokenizer", "weights", "burn"]),
    ("encoder", &["json", "kernels", "weights", "burn"]),
    ("fuzz", &["encoder", "embed", "json", "pack", "search", "tokenizer", "weights", "burn"]),
    ("inventory", &[]),
    ("json", &[]),
    ("kernels", &[]),
    ("pack", &["embed", "encoder", "weights", "burn"]),
    ("search", &["json", "kernels"]),
    ("tokenizer", &["json"]),
    (
        "wasm",
        &["embed", "encoder", "kernels", "search", "weights", "burn", "js-sys", "wasm-bindgen"],
    ),
    ("weights", &["json", "kernels"]),
    ("xtask", &[]),
];

/// Crates of others that only some rooms may know: the tensor library, and JavaScript.
const GUARDED: &[&str] = &["burn", "js-sys", "wasm-bindgen", "web-sys"];

/// The one crate that may hold `unsafe`.
const UNSAFE: &str = "kernels";

/// Lines of the longest file, tests included. The longest is crate/weights/src/reader.rs with 882.
const MAX_LINES: usize = 900;

pub fn run() -> Result<()> {
    sh::step("tidy", "crates, `unsafe` and the length of files");
    let problems = problems()?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// Everything that is out of place.
fn problems() -> Result<Vec<String>> {
    let root = sh::root();
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let architecture = read(&root.join("docs/ARCHITECTURE.md"))?;
    let mut problems = Vec::new();
    for name in entries(&root.join("crate"))? {
        let folder = root.join("crate").join(&name);
        let manifest = read(&folder.join("Cargo.toml"))?;
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == name) else {
            problems.push(format!("crate/{name} is not in crate/xtask/src/tidy.rs"));
            continue;
        };
        if !architecture.contains(&format!("| `crate/{name}` |")) {
            problems.push(format!("crate/{name} is not in docs/ARCHITECTURE.md"));
        }
        for dependency in dependencies(&manifest).filter(|dependency| !allowed.contains(dependency))
        {
            problems.push(format!("crate/{name}/Cargo.toml: {dependency} does not belong there"));
        }
        // The workspace's lints forbid `unsafe`; what is no member of it has to say so itself.
        let forbids = ["[lints]\nworkspace = true", "unsafe_code = \"forbid\""];
        if name != UNSAFE && !forbids.iter().any(|lint| manifest.contains(lint)) {
            problems.push(format!("crate/{name}/Cargo.toml: it needs the workspace's lints"));
        }
        for file in sources(&folder)? {
            let lines = read(&file)?.lines().count();
            if lines > MAX_LINES {
                let file = file.strip_prefix(&root).unwrap_or(&file).display();
                problems.push(format!("{file} has {lines} lines; the maximum is {MAX_LINES}"));
            }
        }
    }
    Ok(problems)
}

/// Of a manifest's dependencies, those that [`ROOMS`] speaks of, without `embervec-`. What tests alone need is free.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut is_in = false;
    let names = manifest.lines().filter_map(move |line| {
        if let Some(table) = line.strip_prefix('[') {
            let for_target = table.starts_with("target.") && table.ends_with(".dependencies]");
            is_in = table == "dependencies]" || for_target;
            // A table of one dependency's own.
            return table.strip_prefix("dependencies.")?.strip_suffix(']');
        }
        let name = line.split(['.', ' ', '=']).next()?;
        is_in.then_some(name)
    });
    names.filter_map(|name| match name.strip_prefix("embervec-") {
        Some(own) => Some(own),
        None => GUARDED.contains(&name).then_some(name),
    })
}

/// The names in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in entries(folder)? {
        let path = folder.join(name);
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        let problems = problems().expect("readable files");
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn only_what_is_guarded_counts_as_a_dependency() {
        let manifest = "[package]\nname = \"embervec-x\"\n\n[dependencies]\nembervec-json.workspace = true\n\
            burn = { workspace = true }\nserde = \"1\"\n\n[dev-dependencies]\nembervec-search = {}\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["json", "burn"]);
    }

    #[test]
    fn dependencies_of_a_target_and_in_tables_of_their_own_count() {
        let manifest = "[target.'cfg(unix)'.dependencies]\nburn = \"1\"\n\n[dependencies.embervec-json]\n\
            path = \"../json\"\n\n[target.'cfg(unix)'.dev-dependencies]\nembervec-search = {}\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["burn", "json"]);
    }
}
