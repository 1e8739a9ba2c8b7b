//! `cargo xtask demo`: the demo page on this machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{build, model, npm, sh};

const DEFAULT_PORT: u16 = 8080;

/// Builds the page and serves it until interrupted.
pub fn run(args: &[String]) -> Result<()> {
    let port = parse_port(args)?;
    build::www()?;
    model::ensure()?;
    let dist = sh::root().join("www").join("dist");
    publish_models(&sh::root().join("www").join("models"), &dist.join("models"))?;

    sh::step("demo", "serving www/dist; end with Ctrl-C");
    // `--dev` reads files anew for every request, so a rebuild shows without a restart. It prints the address itself,
    // which has another port when this one is taken.
    sh::run(npm::bin("sirv").arg(&dist).args(["--dev", "--port", &port.to_string()]))
}

fn parse_port(args: &[String]) -> Result<u16> {
    match args {
        [] => Ok(DEFAULT_PORT),
        [option, port] if option == "--port" => port
            .parse()
            .with_context(|| format!("`{port}` is not a port: give a number below 65536")),
        _ => bail!("`demo` takes `--port N` and nothing else"),
    }
}

/// Makes `www/models` reachable below the served folder.
fn publish_models(models: &Path, served: &Path) -> Result<()> {
    // `exists` follows the link, so a link to nowhere is made anew.
    if served.exists() {
        return Ok(());
    }
    let _ = fs::remove_file(served);
    link(models, served)
        .with_context(|| format!("cannot publish {} as {}", models.display(), served.display()))
}

#[cfg(unix)]
fn link(models: &Path, served: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(models, served)?)
}

/// Links need a privilege on Windows.
#[cfg(not(unix))]
fn link(_: &Path, served: &Path) -> Result<()> {
    model::place(&served.join(model::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(args: &[&str]) -> Option<u16> {
        parse_port(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn ports() {
        assert_eq!(port(&[]), Some(DEFAULT_PORT));
        assert_eq!(port(&["--port", "9000"]), Some(9000));
        assert_eq!(port(&["--port"]), None);
        assert_eq!(port(&["--port", "70000"]), None);
    }
}
