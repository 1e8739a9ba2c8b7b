//! `cargo xtask <verb>`: the one entry point for people and CI.
//!
//! A verb makes whatever it needs first (toolchain, npm packages, wasm, model, browser), and everything that is already
//! there is left alone, so a verb can be run at any time and in any order.

mod bench;
mod browsers;
mod build;
mod corpora;
mod demo;
mod docs;
mod fixtures;
mod fuzz;
mod lint;
mod model;
mod multilingual;
mod npm;
mod pack;
mod package;
mod packages;
mod python;
mod sh;
mod size;
mod test;
mod tidy;
mod toolchain;
mod wasm;

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask <verb>

  build                       wasm, npm package (pkg/dist) and demo page (www/dist)
  docs                        only the API reference (www/dist/docs), which is a step of `build`, too
  wasm [module…]              only the first step of `build`, or only these modules: simd128, relaxed, webgpu, search
  pkg                         the first two steps of `build`
  corpora                     the demo's ready corpora (www/dist/corpora), which are a step of `build`, too
  corpora --check             what is found in them, beside what sentence-transformers finds (encodes all in 32 bits)
  corpora --passages FOLDER   only their passages, for tests/fixtures/retrieval.py
  demo [--port N]             build, then serve the demo page
  package                     build, then the npm package as a tarball in target/package, with its size against the budget
  test [kind…]                build, then every test, or those of these kinds: rust, fuzz, types, unit, node, adapters, browser,
                              engines, consumers, package, size; `heavy`, a large download, runs only if it is named
  fuzz [--seconds N] [target…]
                              hostile model folders, chosen by libFuzzer: so many seconds (60) for each target of
                              crate/fuzz, or for these
  bench [args…]               build, then tests/bench/run.ts with these arguments
  lint                        TypeScript (format and faults), licences (if cargo-deny is installed), clippy and rustdoc
                              for this machine and for the browser
  tidy                        what crates may depend on, where `unsafe` may stand, how long a file may be; a step of `lint`, too
  size                        bytes of pkg/dist, raw and compressed, against the budget
  model                       all-MiniLM-L6-v2 into www/models
  multilingual                multilingual-e5-small into www/models, which the demo then offers (needs Python; 91 MB)
  pack MODEL_DIR [args…]      a model folder's weights in 8 bits, and its manifest (--help: how)
  fixtures [args…]            tests/fixtures/generate.py (needs Python)
  help                        this text

environment
  CHROME            Chromium or Chrome, for `test` and `bench`
  FIREFOX           Firefox, for `test`
  WEBKIT_DRIVER     WebKitGTK's WebKitWebDriver, for `test`
  CI                set: a browser that cannot be had fails the tests; else they go on without it
  EMBERVEC_CACHE    where downloads are kept (default: ~/.cache/embervec)
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not `Debug`, which adds a backtrace of this tool under RUST_BACKTRACE=1.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let (verb, rest) = match args.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", args),
    };
    if verb == "pack" {
        return pack::run(rest);
    }
    env::set_current_dir(sh::root()).context("the project's folder is gone")?;

    match verb {
        "bench" => bench::run(rest),
        "corpora" => corpora::run(rest),
        "demo" => demo::run(rest),
        "fixtures" => fixtures::run(rest),
        "fuzz" => fuzz::run(rest),
        "test" => test::run(rest),
        "wasm" => wasm::run(rest),
        "build" | "docs" | "help" | "--help" | "-h" | "lint" | "model" | "multilingual"
        | "package" | "pkg" | "size" | "tidy" => {
            no_arguments(verb, rest)?;
            match verb {
                "build" => build::www(),
                "docs" => docs::build(),
                "lint" => lint::run(),
                "model" => model::ensure(),
                "multilingual" => multilingual::ensure(),
                "package" => package::run(),
                "pkg" => build::package(),
                "tidy" => tidy::run(),
                "size" => build::package().and_then(|()| size::check()),
                _ => {
                    print!("{HELP}");
                    Ok(())
                }
            }
        }
        _ => bail!("there is no verb `{verb}`\n\n{HELP}"),
    }
}

fn no_arguments(verb: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(argument) => bail!("`{verb}` takes no arguments, but got `{argument}`"),
    }
}
