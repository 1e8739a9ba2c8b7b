//! The browsers that tests and benchmarks run in. One that is not there is installed.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Packages};
use crate::sh;

struct Browser {
    /// The environment's variable for a program that is not where it is looked for.
    variable: &'static str,
    /// On the PATH, in order of preference.
    names: &'static [&'static str],
    /// Where installers put it without touching the PATH.
    places: &'static [&'static str],
    /// Programs that it does not start without.
    needs: &'static [&'static str],
    packages: Packages,
}

const CHROMIUM: Browser = Browser {
    variable: "CHROME",
    names: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"],
    places: &[
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    ],
    needs: &[],
    packages: Packages {
        what: "Chromium",
        apt: &["chromium"],
        dnf: &["chromium"],
        brew: &["--cask", "chromium"],
    },
};

const FIREFOX: Browser = Browser {
    variable: "FIREFOX",
    names: &["firefox-esr", "firefox"],
    places: &[
        "/Applications/Firefox.app/Contents/MacOS/firefox",
        r"C:\Program Files\Mozilla Firefox\firefox.exe",
    ],
    needs: &[],
    packages: Packages {
        what: "Firefox",
        apt: &["firefox-esr"],
        dnf: &["firefox"],
        brew: &["--cask", "firefox"],
    },
};

/// The driver knows where its browser is. That needs a display, so it gets one that nobody sees.
const WEBKIT: Browser = Browser {
    variable: "WEBKIT_DRIVER",
    names: &["WebKitWebDriver"],
    places: &[],
    needs: &["Xvfb"],
    packages: Packages {
        what: "WebKit with its driver",
        apt: &["webkit2gtk-driver", "xvfb"],
        dnf: &[],
        brew: &[],
    },
};

/// Chromium's program.
pub fn chromium() -> Result<PathBuf> {
    ensure(&CHROMIUM)
}

/// For the tests of every engine: variables of the environment with the programs, empty where a system has none. In CI
/// all have to be there.
pub fn engines() -> Result<Vec<(&'static str, PathBuf)>> {
    let is_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    [CHROMIUM, FIREFOX, WEBKIT]
        .iter()
        .map(|browser| match ensure(browser) {
            Ok(program) => Ok((browser.variable, program)),
            Err(error) if is_ci || named(browser).is_some() => Err(error),
            Err(error) => {
                sh::step("test", &format!("going on without {}: {error:#}", browser.packages.what));
                Ok((browser.variable, PathBuf::new()))
            }
        })
        .collect()
}

fn ensure(browser: &Browser) -> Result<PathBuf> {
    let Browser { variable, packages, .. } = browser;
    if let Some(path) = named(browser) {
        if !path.is_file() {
            bail!("{variable} is {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    if let Some(path) = installed(browser) {
        return Ok(path);
    }
    let advice = format!(
        "install {} yourself, set the environment variable {variable} to its path and run this again",
        packages.what
    );
    packages::install(packages).with_context(|| advice.clone())?;
    installed(browser).with_context(|| {
        format!("{} was installed, but is not on the PATH: {advice}", packages.what)
    })
}

/// The program that the environment names.
fn named(browser: &Browser) -> Option<PathBuf> {
    env::var_os(browser.variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn installed(browser: &Browser) -> Option<PathBuf> {
    if browser.needs.iter().any(|name| sh::find(name).is_none()) {
        return None;
    }
    let on_path = browser.names.iter().find_map(|name| sh::find(name));
    on_path.or_else(|| browser.places.iter().map(PathBuf::from).find(|path| path.is_file()))
}
