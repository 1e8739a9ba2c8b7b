//! `embervec-pack`: packs a model folder and says how large it is now.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use embervec_pack::{Options, Packed, brotli_size, pack};

const HELP: &str = "\
embervec-pack MODEL_DIR [--output DIR] [--table-bits N]

Writes model.q8.safetensors, the weights in 8 bits, and manifest.json, the SHA-256 of every 512 kB of
every file. Both are optional for embervec. With the first it downloads a quarter of the bytes, and with the
second it verifies and resumes downloads chunk by chunk.

  --output DIR       a new folder with everything that embervec needs, ready to be served. Without it, the
                     two files are written into MODEL_DIR
  --table-bits N     4 to 8 (default: 7): bits of the values of embedding tables. The file size stays the
                     same, but a compressed download is smaller: for all-MiniLM-L6-v2 20.1 MB with 8 bits,
                     18.6 MB with 7 and 17.1 MB with 6, where the mean cosine to fp32 falls below 0.998
";

/// Of all-MiniLM-L6-v2 it saves 1.5 MB of a compressed download, for a mean cosine of 0.99819 in place of 0.99824.
const TABLE_BITS: u32 = 7;

/// It takes seconds. The weights are nearly noise: MiniLM's 22.9 MB become 20.19 MB with quality 2, 20.12
/// with 5 and 20.06 with 10, which takes a minute.
const BROTLI_QUALITY: i32 = 5;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.is_empty() || args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return if args.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match parse(&args).and_then(|options| pack(&options)).and_then(|packed| report(&packed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Result<Options> {
    let (mut folder, mut output, mut table_bits) = (None, None, TABLE_BITS);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` needs a value\n\n{HELP}"));
        match arg.as_str() {
            "--output" => output = Some(PathBuf::from(value()?)),
            "--table-bits" => {
                let bits = value()?;
                table_bits =
                    bits.parse().ok().filter(|bits| (4..=8).contains(bits)).with_context(|| {
                        format!("`--table-bits {bits}`: give a number from 4 to 8")
                    })?;
            }
            option if option.starts_with("--") => bail!("unknown option `{option}`\n\n{HELP}"),
            path => {
                ensure!(
                    folder.is_none(),
                    "give only one folder; `{path}` is a second one\n\n{HELP}"
                );
                folder = Some(PathBuf::from(path));
            }
        }
    }
    let folder = folder.with_context(|| format!("name a model folder\n\n{HELP}"))?;
    Ok(Options { folder, output, table_bits })
}

fn report(Packed { folder, weights, manifest }: &Packed) -> Result<()> {
    for (path, entry) in &manifest.files {
        println!("{:>11}  {path}", entry.size);
    }
    let total: u64 = manifest.files.values().map(|entry| entry.size).sum();
    println!(
        "{total:>11}  {} files and manifest.json in {}",
        manifest.files.len(),
        folder.display()
    );
    let compressed = brotli_size(&folder.join(weights), BROTLI_QUALITY)?;
    println!(
        "{compressed:>11}  {weights} with Content-Encoding: br (brotli, quality {BROTLI_QUALITY})"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<(PathBuf, Option<PathBuf>, u32)> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        parse(&args).map(|options| (options.folder, options.output, options.table_bits))
    }

    #[test]
    fn arguments() {
        assert_eq!(parsed("a").expect("a folder"), ("a".into(), None, TABLE_BITS));
        let all = parsed("--table-bits 6 a --output b").expect("everything");
        assert_eq!(all, ("a".into(), Some("b".into()), 6));
        for wrong in ["", "a b", "a --output", "a --table-bits 3", "a --table-bits 9", "a --bits 6"]
        {
            parsed(wrong).expect_err(wrong);
        }
    }
}
