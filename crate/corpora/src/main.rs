//! `embervec-corpora`: the ready corpora in a folder to serve.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use embervec_corpora::{Corpus, Encoded, open_tokenizer, read, write};

const HELP: &str = "\
embervec-corpora passages SOURCES MODEL_DIR PASSAGES_DIR
embervec-corpora write SOURCES MODEL_DIR PASSAGES_DIR OUTPUT

SOURCES is a folder with an unpacked npm package for each corpus. The model in MODEL_DIR says how long a passage may be.

  passages    the texts, as NAME.json, for encode.mjs and for tests/fixtures/retrieval.py
  write       with the vectors that encode.mjs has put beside them: each corpus as an index that SearchIndex.fetch
              reads, and index.json, which lists them
";

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
        ["passages", sources, model, folder] => {
            let folder = Path::new(folder);
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            for corpus in corpora(sources, model)? {
                let path = folder.join(format!("{}.json", corpus.name));
                fs::write(&path, serde_json::to_vec(&corpus.passages())?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Ok(())
        }
        ["write", sources, model, passages, output] => {
            let corpora = corpora(sources, model)?;
            write(&corpora, &Encoded::open(Path::new(passages))?, Path::new(output))
        }
        _ => bail!("{HELP}"),
    }
}

fn corpora(sources: &str, model: &str) -> Result<Vec<Corpus>> {
    let tokenizer = open_tokenizer(Path::new(model))
        .with_context(|| format!("cannot load the tokenizer in {model}"))?;
    read(Path::new(sources), &tokenizer)
}
