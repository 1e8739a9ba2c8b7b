//! `cargo xtask package`: the npm package as one file, as `npm publish` would send it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{build, npm, sh};

/// Bytes of the tarball, which is what `npm install` downloads. Nearly all of it are the three wasm modules.
const TARBALL_BUDGET: u64 = 3_000_000;

/// Bytes of the files on a disk.
const INSTALLED_BUDGET: u64 = 9_000_000;

/// Builds the package and packs it into `target/package`.
pub fn run() -> Result<()> {
    build::package()?;
    pack()
}

/// Packs what was built, prints its sizes and fails when they are above the budget.
pub fn pack() -> Result<()> {
    let out = sh::root().join("target").join("package");
    // No older version stays beside the new one.
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut npm = npm::command("npm");
    npm.args(["pack", "--json", "--pack-destination"]).arg(&out);
    let packed = Packed::parse(&sh::output(npm.current_dir(sh::root().join("pkg")))?)?;

    println!("{}", PathBuf::from("target/package").join(&packed.filename).display());
    within("tarball", packed.size, TARBALL_BUDGET)?;
    within("installed", packed.unpacked_size, INSTALLED_BUDGET)
}

fn within(what: &str, bytes: u64, budget: u64) -> Result<()> {
    println!("{what}: {bytes} of {budget} bytes");
    if bytes > budget {
        bail!(
            "{what}: {bytes} bytes are {} more than the budget of {budget}: `npm pack --dry-run` in pkg lists the files; leave \
             something out, or raise the budget in crate/xtask/src/package.rs and say why",
            bytes - budget
        );
    }
    Ok(())
}

/// What `npm pack --json` says of the tarball.
#[derive(Debug, PartialEq)]
struct Packed {
    filename: String,
    size: u64,
    unpacked_size: u64,
}

impl Packed {
    /// Of the one tarball: its own fields come before those of its files.
    fn parse(json: &str) -> Result<Packed> {
        let field = |name: &str| {
            let start = json.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest.trim_start());
            let value = start.and_then(|rest| rest.split([',', '\n', '}']).next());
            value
                .map(|value| value.trim().trim_matches('"').to_owned())
                .with_context(|| format!("`npm pack --json` gives no {name}; npm 9 to 11 do"))
        };
        let number = |name: &str| -> Result<u64> {
            let value = field(name)?;
            value.parse().with_context(|| format!("`npm pack --json` gives {value} as {name}"))
        };
        Ok(Packed {
            filename: field("filename")?,
            size: number("size")?,
            unpacked_size: number("unpackedSize")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_npm_says() {
        let json = r#"[
  {
    "id": "embervec@0.1.0",
    "size": 2664578,
    "unpackedSize": 7020160,
    "filename": "embervec-0.1.0.tgz",
    "files": [{ "path": "README.md", "size": 7367, "mode": 420 }]
  }
]"#;
        let expected = Packed {
            filename: "embervec-0.1.0.tgz".to_owned(),
            size: 2_664_578,
            unpacked_size: 7_020_160,
        };
        assert_eq!(Packed::parse(json).expect("it is npm's"), expected);
        assert!(Packed::parse("[]").is_err());
    }

    #[test]
    fn above_the_budget() {
        assert!(within("tarball", 10, 10).is_ok());
        let error = within("tarball", 11, 10).expect_err("it is above");
        assert!(error.to_string().starts_with("tarball: 11 bytes are 1 more"), "{error}");
    }
}
