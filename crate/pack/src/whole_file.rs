//! Files that exist only when they are whole, and only where they are meant to be.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process;

use anyhow::{Context, Result, ensure};

/// Writes the file `name` of a folder, and creates missing folders. An existing file is replaced in one step when
/// everything has been written, and stays as it was after an error.
pub fn write(
    folder: &Path,
    name: &str,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let path = folder.join(name);
    write_new(folder, name, &path, fill).with_context(|| format!("cannot write {}", path.display()))
}

fn write_new(
    folder: &Path,
    name: &str,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut parent = folder.to_owned();
    for part in name.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
        parent.push(part);
        match fs::symlink_metadata(&parent) {
            // A link may lead anywhere.
            Ok(found) => ensure!(found.is_dir(), "{} is not a folder", parent.display()),
            Err(_) => fs::create_dir(&parent)?,
        }
    }
    if let Ok(found) = fs::symlink_metadata(path) {
        ensure!(found.is_file() || found.is_symlink(), "it is not a plain file");
    }
    let partial = path.with_added_extension(format!("partial-{}", process::id()));
    // A new one: what is there already may be a link.
    let file = File::create_new(&partial)
        .with_context(|| format!("{} already exists", partial.display()))?;
    let written = fill_and_rename(file, &partial, path, fill);
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

fn fill_and_rename(
    file: File,
    partial: &Path,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    Ok(fs::rename(partial, path)?)
}
