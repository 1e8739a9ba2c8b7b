//! Folders that were edited in every way that sentence-transformers has code for: the same tokens and vectors as Python, or
//! a refusal where Python refuses.
//!
//! `tests/fixtures/variants.py` makes the variants.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use burn::tensor::Device;
use embervec_embed::{
    Embedder, EncodeOptions, Error, FileKind, Folder, GPU_TOKENS_PER_BATCH, Loader, Output, Result,
    Task, WeightDtype,
};
use serde::Deserialize;
use serde_json::Value;
use support::{decode, max_difference, root};

/// What Python computes and this crate refuses, with the reasons.
const REFUSED: &str = include_str!("refused.txt");

/// What Python refuses and this crate computes.
const ACCEPTED: &[(&str, &str)] = &[
    ("folder/not-text/p", "a processor of pictures or sounds is not asked for"),
    ("folder/preprocessor_config.json/", "a processor of pictures or sounds is not asked for"),
    ("folder/processor_config.json/", "a processor of pictures or sounds is not asked for"),
    ("modules/name/pooling/", "the name is one of the Python class's own"),
    ("plain/config/architectures/[5]", "the name of the architecture decides nothing else"),
    ("plain/chat_template/extra-file", "what further files a folder has is not asked for"),
    ("sentence_bert/processor_kwargs/conflicting", "the name is one of the Python class's own"),
    ("tokenizer_config/bert/chat_", "chats are not asked for"),
    ("tokenizer_config/bert/encode/", "the name is one of the Python class's own"),
    ("tokenizer_config/bert/model_specific_special_tokens/", "only Python's saving uses it"),
    ("tokenizer_config/bert/pad/", "the name is one of the Python class's own"),
    ("tokenizer_config/bert/save_pretrained/", "the name is one of the Python class's own"),
    ("tokenizer_config/bert/self/", "the name is one of the Python class's own"),
    ("tokenizer_config/bert/tokenizer_object/", "only Python has such objects"),
    (
        "weights/value/first-norm/1e30",
        "the sum of squares overflows in Python's order of summation only",
    ),
];

/// The largest share of the variants that Python computes and this crate refuses.
const MAX_REFUSED: f64 = 0.1;

fn is_refused(variant: &Variant) -> bool {
    REFUSED.lines().any(|line| line == variant.name)
}

fn is_accepted(variant: &Variant) -> bool {
    ACCEPTED.iter().any(|(prefix, _)| variant.name.starts_with(prefix))
}

/// fp32 in another order of summation, of the largest component.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Variants {
    texts: Vec<String>,
    rows: Vec<Row>,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Row {
    input_ids: Vec<u32>,
    embedding: String,
}

#[derive(Deserialize)]
struct Variant {
    name: String,
    base: String,
    edits: Vec<Edit>,
    /// Python does not load it.
    #[serde(default)]
    error: Option<String>,
    /// Python gives other vectors at every load.
    #[serde(default)]
    random: bool,
    #[serde(default)]
    max_seq_length: Value,
    #[serde(default)]
    similarity: Value,
    #[serde(default)]
    prompts: Value,
    #[serde(default)]
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Edit {
    path: String,
    #[serde(default)]
    of: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    base64: Option<String>,
    #[serde(default)]
    keep: Option<(usize, usize)>,
    #[serde(default)]
    deleted: bool,
}

/// A call, and what it gives: one of `row`, `embedding`, `error`, `not_finite` and `shape`.
#[derive(Deserialize)]
struct Call {
    call: String,
    text: usize,
    #[serde(default)]
    prompt_name: Option<String>,
    #[serde(default)]
    row: Option<usize>,
    /// Of the tokens.
    #[serde(default)]
    embedding: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    not_finite: bool,
}

type Files = BTreeMap<String, Vec<u8>>;

/// A tiny model's files by path.
fn read_files(base: &str) -> Files {
    let base = root().join("tests/fixtures/models").join(base);
    let mut files = Files::new();
    let mut folders = vec![base.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(&base).expect("below it").to_str().expect("UTF-8");
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(name.into(), fs::read(&path).expect("a file"))),
            }
        }
    }
    files
}

impl Variant {
    fn apply(&self, files: &mut Files) {
        for edit in &self.edits {
            let content = match (&edit.text, &edit.base64) {
                _ if edit.deleted => {
                    files.remove(&edit.path).expect("a file to delete");
                    continue;
                }
                (Some(text), _) => text.clone().into_bytes(),
                (None, Some(base64)) => BASE64_STANDARD.decode(base64).expect("base64"),
                (None, None) => panic!("{}: an edit without content", self.name),
            };
            let content = match edit.keep {
                None => content,
                Some((head, tail)) => {
                    let source = &files[edit.of.as_ref().unwrap_or(&edit.path)];
                    [&source[..head], &content, &source[source.len() - tail..]].concat()
                }
            };
            files.insert(edit.path.clone(), content);
        }
    }

    /// Whether Python gives a vector for any of the texts.
    fn is_computed(&self) -> bool {
        self.calls.iter().any(|call| call.row.is_some())
    }
}

fn open(files: &Files) -> Result<Embedder> {
    let mut folder = Folder::default();
    loop {
        let wanted = folder.wanted()?;
        if wanted.is_empty() {
            break;
        }
        for file in wanted {
            match (files.get(&file.path), file.kind) {
                (None, _) => folder.absent(&file.path),
                (Some(bytes), FileKind::Small) => folder.put(&file.path, bytes.clone())?,
                (Some(_), _) => folder.found(&file.path),
            }
        }
    }
    let mut loader = Loader::new(&folder, WeightDtype::Fp32, &Device::flex())?;
    for file in folder.weights()? {
        let bytes = &files[&file.path];
        loader.begin_weights(&file.path, Some(bytes.len() as u64))?;
        loader.push_weights(bytes)?;
        loader.end_weights()?;
    }
    loader.finish()
}

fn options(call: &Call) -> EncodeOptions {
    EncodeOptions {
        task: match &*call.call {
            "encode_query" => Some(Task::Query),
            "encode_document" => Some(Task::Document),
            _ => None,
        },
        prompt_name: call.prompt_name.clone(),
        output: if call.call == "tokens" { Output::Token } else { Output::Sentence },
        ..EncodeOptions::default()
    }
}

/// What differs from Python; `None` where nothing does.
fn compare(variants: &Variants, variant: &Variant, files: &Files) -> Option<String> {
    let is_refused = is_refused(variant);
    let embedder = match open(files) {
        Ok(_) if is_accepted(variant) => return None,
        Ok(_) if variant.error.is_some() => {
            return Some(format!(
                "loads, but Python says {}",
                variant.error.as_deref().unwrap_or("")
            ));
        }
        Ok(_) if variant.random => return Some("loads, but Python's vectors are random".into()),
        Ok(embedder) => embedder,
        Err(error) if variant.is_computed() && !is_refused => {
            return Some(format!("REFUSED {error}"));
        }
        Err(error) => return refusal(&error),
    };
    // Python's property does not know of what every call is told.
    let expected = match variant.name.contains("processing_kwargs") {
        true => &Value::Bool(false),
        false => &variant.max_seq_length,
    };
    match (expected, embedder.max_seq_length()) {
        (Value::Number(expected), found)
            if expected.is_u64() && expected.as_u64() != found.map(|n| n as u64) =>
        {
            return Some(format!("max_seq_length {found:?}, not {expected}"));
        }
        (Value::Null, Some(found)) if variant.is_computed() => {
            return Some(format!("max_seq_length {found}, not null"));
        }
        _ => {}
    }
    if variant.similarity.as_str() != Some(embedder.similarity()) {
        return Some(format!("similarity {}, not {}", embedder.similarity(), variant.similarity));
    }
    let prompts = variant.prompts.as_object().expect("prompts");
    let texts: BTreeMap<&str, &str> =
        prompts.iter().filter_map(|(name, text)| Some((&**name, text.as_str()?))).collect();
    if texts != embedder.prompts() {
        return Some(format!("prompts {:?}, not {texts:?}", embedder.prompts()));
    }
    let mut is_sound = true;
    for call in &variant.calls {
        match compare_call(variants, call, &embedder) {
            None => {}
            // It may be refused where it is used, too.
            Some(problem) if is_refused && problem.starts_with("fails: ") => is_sound = false,
            Some(problem) => {
                let Call { call, text, prompt_name, .. } = call;
                return Some(format!("{call} of text {text}, prompt {prompt_name:?}: {problem}"));
            }
        }
    }
    (is_refused && is_sound).then(|| "is computed, but listed as refused".into())
}

/// A refusal must say which file, tensor, text or option it is about.
fn refusal(error: &Error) -> Option<String> {
    let code = error.code();
    let is_known = matches!(code, "unsupported_model" | "integrity" | "model_not_found");
    let message = error.to_string();
    let names_a_file =
        message.contains(".json") || message.contains(".safetensors") || message.contains(".txt");
    (!is_known || !names_a_file).then(|| format!("is refused with {code}: {message}"))
}

fn compare_call(variants: &Variants, call: &Call, embedder: &Embedder) -> Option<String> {
    let text = [&variants.texts[call.text]];
    let options = options(call);
    let encoded = embedder.encode(&text, &options);
    let encoded = match (&call.error, encoded) {
        (Some(_), Err(_)) => return None,
        (Some(error), Ok(_)) => return Some(format!("gives a vector, but Python says {error}")),
        (None, Err(error)) if call.not_finite => {
            let is_named = matches!(error, Error::Text { .. });
            return (!is_named).then(|| format!("does not name the text: {error}"));
        }
        (None, Err(error)) => return Some(format!("fails: {error}")),
        (None, Ok(_)) if call.not_finite => {
            return Some("gives a vector, but Python's is not finite".into());
        }
        (None, Ok(encoded)) => encoded,
    };
    let expected = match (call.row, &call.embedding) {
        (Some(row), _) => {
            let row = &variants.rows[row];
            let job =
                embedder.begin(&text, &options, GPU_TOKENS_PER_BATCH).expect("it has been encoded");
            let ids = job.batch().expect("a batch").input_ids();
            if ids != row.input_ids {
                return Some(format!("ids {ids:?}, not {:?}", row.input_ids));
            }
            decode(&row.embedding)
        }
        (None, Some(embedding)) => decode(embedding),
        (None, None) => return Some("gives vectors, but Python gives no vector for a text".into()),
    };
    if call.call != "tokens" && embedder.dimension() != encoded.dimension {
        return Some(format!("dimension {}, not {}", embedder.dimension(), encoded.dimension));
    }
    if encoded.vectors.len() != expected.len() {
        return Some(format!("{} values, not {}", encoded.vectors.len(), expected.len()));
    }
    let largest = expected.iter().fold(1.0, |max: f32, x| max.max(x.abs()));
    let difference = max_difference(&encoded.vectors, &expected);
    // NaN is not near.
    let is_near = difference < TOLERANCE * largest;
    (!is_near).then(|| format!("differs by {difference:e}"))
}

#[test]
fn every_variant_is_computed_as_by_python_or_refused() {
    let json = fs::read(root().join("tests/fixtures/variants.json")).expect("variants.json");
    let variants: Variants = serde_json::from_slice(&json).expect("variants");
    assert!(variants.variants.len() >= 250);
    let mut bases = BTreeMap::new();
    for variant in &variants.variants {
        bases.entry(variant.base.as_str()).or_insert_with(|| read_files(&variant.base));
    }

    let problems = Mutex::new(Vec::new());
    let next = Mutex::new(variants.variants.iter());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(variant) = next.lock().expect("a lock").next() else { break };
                    let mut files = bases[&*variant.base].clone();
                    variant.apply(&mut files);
                    if let Some(problem) = compare(&variants, variant, &files) {
                        problems
                            .lock()
                            .expect("a lock")
                            .push(format!("{}: {problem}", variant.name));
                    }
                }
            });
        }
    });
    let mut problems = problems.into_inner().expect("a lock");
    problems.sort();
    let all = &variants.variants;
    let refused = all.iter().filter(|v| is_refused(v)).count();
    let accepted = all.iter().filter(|v| !v.is_computed() && is_accepted(v)).count();
    let computed = all.iter().filter(|v| v.is_computed()).count();
    println!(
        "{} variants: Python computes {computed}, of which {refused} are refused; {accepted} are accepted without it",
        all.len()
    );
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
    assert!((refused as f64) < MAX_REFUSED * all.len() as f64);
    let (_, listed) = REFUSED.split_once("\n\n").expect("a title");
    for name in listed.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let variant = all.iter().find(|v| v.name == name);
        assert!(variant.is_some_and(Variant::is_computed), "{name} is not computed by Python");
    }
    for (prefix, reason) in ACCEPTED {
        let is_used = all.iter().any(|v| v.name.starts_with(prefix));
        assert!(is_used, "{prefix} is listed ({reason}), but there is no such variant");
    }
}

/// As in Python: `truncate_dim if truncate_dim is not None else self.truncate_dim`.
#[test]
fn a_calls_truncate_dim_takes_the_place_of_the_folders() {
    let mut files = read_files("tiny-cls");
    let vector = |files: &Files, truncate_dim| {
        let options = EncodeOptions { truncate_dim, ..EncodeOptions::default() };
        open(files).expect("loads").encode(&["fox"], &options).expect("a vector").vectors
    };
    let whole = vector(&files, None);
    let settings = br#"{"truncate_dim": 8}"#.to_vec();
    files.insert("config_sentence_transformers.json".into(), settings);
    assert_eq!(vector(&files, None), whole[..8]);
    assert_eq!(vector(&files, Some(16)), whole[..16]);
    assert_eq!(vector(&files, Some(4)), whole[..4]);
}
