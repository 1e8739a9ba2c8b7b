//! The browser that tests and benchmarks run in.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Packages};
use crate::sh;

/// On the PATH, in order of preference.
const NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// Where installers put it without touching the PATH.
const PLACES: [&str; 3] = [
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
];

const PACKAGES: Packages = Packages {
    what: "Chromium",
    apt: &["chromium"],
    dnf: &["chromium"],
    brew: &["--cask", "chromium"],
};

/// The browser's program; it is installed when there is none.
pub fn ensure() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CHROME").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("CHROME is {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    if let Some(path) = installed() {
        return Ok(path);
    }
    let advice =
        "set the environment variable CHROME to the path of Chromium or Chrome and run this again";
    packages::install(&PACKAGES).context(advice)?;
    installed().with_context(|| format!("Chromium was installed, but is not on the PATH: {advice}"))
}

fn installed() -> Option<PathBuf> {
    let on_path = NAMES.iter().find_map(|name| sh::find(name));
    on_path.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}
