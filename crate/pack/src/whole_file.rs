//! Files that exist only when they are whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process;

use anyhow::{Context, Result};

/// Writes a file, and its folder where there is none. Whatever was there is replaced at once, when
/// everything has been written; after an error it is as it was.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut partial: OsString = path.into();
    partial.push(format!(".partial-{}", process::id()));
    let written = fill_and_rename(Path::new(&partial), path, fill);
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn fill_and_rename(
    partial: &Path,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = BufWriter::new(File::create(partial)?);
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    Ok(fs::rename(partial, path)?)
}
