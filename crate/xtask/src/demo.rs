//! `cargo xtask demo`: the demo page on this machine.

use anyhow::{Context, Result, bail};

use crate::{build, model, npm, sh};

const DEFAULT_PORT: u16 = 8080;

/// Builds the page and serves it until interrupted.
pub fn run(args: &[String]) -> Result<()> {
    let port = parse_port(args)?;
    // The model first, because the build publishes it.
    model::ensure()?;
    build::www()?;

    sh::step("demo", "serving www/dist; end with Ctrl-C");
    // `--dev` reads files anew for every request, so a rebuild shows without a restart. It prints the address itself,
    // which has another port when this one is taken.
    sh::run(npm::bin("sirv").arg("www/dist").args(["--dev", "--port", &port.to_string()]))
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
