//! What fuzzing begins with: folders of `tests/fixtures`, parts of tokenizers, and the inputs of `seeds/`, each of
//! a kind that has been a fault.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use embervec_encoder::EncoderSpec;
use embervec_search::folder::{Passage, Probe, Writer};
use embervec_search::{Similarity, TermsBuilder, quantize};
use embervec_weights::{TensorReader, WeightDtype};

use crate::Target;
use crate::archive::Archive;
use crate::mutate::Form;
use crate::tree::Tree;
use crate::weights::{encoder_tensors, safetensors, small_config};

/// An input and its name.
pub type Seed = (String, Vec<u8>);

/// The seeds of a target.
///
/// # Errors
///
/// When the repository's files are not there.
pub fn seeds(target: &Target) -> std::io::Result<Vec<Seed>> {
    let mut seeds = match target.name {
        "json" => json_files(|_| true)?,
        "config" => json_files(|name| name.ends_with("/config.json"))?,
        "weights" => weights(),
        "word_piece" => word_piece()?,
        "unigram" => tokenizers("unigram", UNIGRAM),
        "bpe" => tokenizers("bpe", BPE),
        "word_level" => tokenizers("word_level", WORD_LEVEL),
        "vocab_txt" => vocab_txt(),
        "folder" => models()?,
        "pack" => packs()?,
        "index" => index_parts()?,
        "index_folder" => index_folder()?,
        _ => Vec::new(),
    };
    seeds.extend(committed(target)?);
    Ok(seeds)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The inputs of `seeds/`. The file `base` of an archive is the name of a fixture whose files it has beside its own.
fn committed(target: &Target) -> std::io::Result<Vec<Seed>> {
    let folder = root().join("crate/fuzz/seeds").join(target.name);
    let mut seeds = Vec::new();
    if !folder.is_dir() {
        return Ok(seeds);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let mut bytes = fs::read(entry.path())?;
        let mut own = Archive::parse(&bytes);
        if target.form == Form::Archive
            && let Some(base) = own.remove("base")
        {
            let mut archive = model(String::from_utf8_lossy(&base).trim())?;
            own.files.iter().for_each(|(name, content)| archive.put(name, content.clone()));
            bytes = archive.to_bytes();
        }
        seeds.push((entry.file_name().to_string_lossy().into_owned(), bytes));
    }
    seeds.sort();
    Ok(seeds)
}

/// The names of the fixtures' models.
fn model_names() -> std::io::Result<Vec<String>> {
    let entries = fs::read_dir(root().join("tests/fixtures/models"))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A fixture's small files, with all widths divided by four: its weights are made to fit.
fn model(name: &str) -> std::io::Result<Archive> {
    let base = root().join("tests/fixtures/models").join(name);
    let mut archive = Archive::default();
    let mut folders = vec![base.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(&base).unwrap_or(&path).to_string_lossy();
            let name = name.replace('\\', "/");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".json") && name != "expected.json" {
                archive.put(&name, smaller(fs::read(&path)?));
            }
        }
    }
    Ok(archive)
}

fn smaller(json: Vec<u8>) -> Vec<u8> {
    const WIDTHS: [&str; 6] = [
        "hidden_size",
        "intermediate_size",
        "word_embedding_dimension",
        "embedding_dimension",
        "in_features",
        "out_features",
    ];
    let Some(mut tree) = Tree::parse(&json) else { return json };
    for key in WIDTHS {
        if let Some(Tree::Raw(raw)) = tree.get_mut(key) {
            let number = std::str::from_utf8(raw).ok().and_then(|raw| raw.parse::<u64>().ok());
            if let Some(number) = number {
                *raw = (number / 4).to_string().into_bytes();
            }
        }
    }
    if let Some(layers) = tree.get_mut("num_hidden_layers") {
        *layers = Tree::raw("1");
    }
    tree.to_bytes()
}

fn json_files(is_wanted: impl Fn(&str) -> bool) -> std::io::Result<Vec<Seed>> {
    let mut seeds: Vec<Seed> = Vec::new();
    for name in model_names()? {
        for (path, content) in model(&name)?.files {
            let path = format!("{name}/{path}");
            if is_wanted(&path) && seeds.iter().all(|(_, other)| *other != content) {
                seeds.push((path, content));
            }
        }
    }
    Ok(seeds)
}

fn weights() -> Vec<Seed> {
    let tensors = encoder_tensors(&small_config());
    let renamed = |rename: &dyn Fn(&str) -> String| {
        tensors.iter().map(|(name, shape)| (rename(name), shape.clone())).collect::<Vec<_>>()
    };
    let prefixed = renamed(&|name| format!("bert.{name}"));
    let old = renamed(&|name| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    });
    let mut surplus = tensors.clone();
    surplus.push(("cls.predictions.bias".into(), vec![3]));
    surplus.retain(|(name, _)| !name.starts_with("pooler"));
    let seeds = [
        ("f32", safetensors(&tensors, "F32", 4)),
        ("f16", safetensors(&tensors, "F16", 2)),
        ("bf16", safetensors(&prefixed, "BF16", 2)),
        ("f64", safetensors(&old, "F64", 8)),
        ("surplus", safetensors(&surplus, "F32", 4)),
        ("q8", in_8_bits(&safetensors(&tensors, "F32", 4))),
    ];
    seeds.map(|(name, bytes)| (name.into(), bytes)).into()
}

fn in_8_bits(bytes: &[u8]) -> Vec<u8> {
    let table = small_config().key_table();
    let mut reader = TensorReader::new("model.safetensors", table, WeightDtype::Q8);
    match reader.push(bytes) {
        Ok(()) => reader.take_converted(),
        Err(_) => Vec::new(),
    }
}

fn models() -> std::io::Result<Vec<Seed>> {
    let mut models = Vec::new();
    for name in model_names()? {
        models.push((name.clone(), model(&name)?.to_bytes()));
    }
    models.push(("sharded".into(), sharded()?.to_bytes()));
    Ok(models)
}

/// A model whose weights are in two files.
fn sharded() -> std::io::Result<Archive> {
    let archive = model("tiny-cls")?;
    let config = archive.get("config.json").unwrap_or_default();
    let config = EncoderSpec::from_json("config.json", config).map_err(std::io::Error::other)?;
    let file = |i: usize| format!("model-0000{}-of-00002.safetensors", 1 + i % 2);
    let tensors = encoder_tensors(&config).into_iter().enumerate();
    let map: BTreeMap<String, String> = tensors.map(|(i, (name, _))| (name, file(i))).collect();
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    Ok(archive.with("model.safetensors.index.json", index.to_string()))
}

fn packs() -> std::io::Result<Vec<Seed>> {
    let mut seeds = models()?;
    let dense = model("tiny-dense")?;
    let variants = [
        ("in-place", dense.clone().with("options", "in-place bits=7")),
        ("leftovers", dense.clone().with("out/config.json", "{}").with("out/other/x", "x")),
        ("link", dense.clone().with("out/config.json -> outside/secret", "")),
        (
            "linked-folder",
            dense.clone().with("out/1_Pooling -> outside/folder", "").with("outside/folder/x", ""),
        ),
        ("endless", dense.with("vocab.txt -> zero", "")),
    ];
    seeds.extend(variants.map(|(name, archive)| (name.into(), archive.to_bytes())));
    Ok(seeds)
}

fn index_parts() -> std::io::Result<Vec<Seed>> {
    let vectors: Vec<f32> = (0..4 * 5).map(|i| (i % 7) as f32 - 3.0).collect();
    let scan = quantize(&vectors, 4).map_err(std::io::Error::other)?;
    let mut terms = TermsBuilder::new(0);
    for row in 0..5 {
        let words = (0..20).map(|i| format!("word{}", i * (row + 1)));
        terms.add_row(words).map_err(std::io::Error::other)?;
    }
    let whole = Archive::default()
        .with("scan", scan)
        .with("terms", terms.encode())
        .with(
            "metadata",
            r#"[{"a": 1, "b": {"c": ["x", null]}}, null, {"a": "1"}, {"a": true}, {}]"#,
        )
        .with("filter", r#"{"$or": [{"a": {"$gte": 1, "$ne": 2}}, {"b.c": {"$in": ["x"]}}]}"#)
        .with("word", "word1");
    let negative = whole
        .clone()
        .with("filter", r#"{"$not": {"a": {"$exists": true}}, "b.c": {"$nin": [null]}}"#)
        .with("word", "");
    Ok(vec![("whole".into(), whole.to_bytes()), ("negative".into(), negative.to_bytes())])
}

fn index_folder() -> std::io::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for (name, rows) in [("none", 0), ("one-piece", 3), ("two-pieces", 20)] {
        let mut writer = Writer::new(4, Similarity::Cosine).map_err(std::io::Error::other)?;
        for row in 0..rows {
            let document = format!("document {}", row / 3);
            let text = format!("Text number{row}, \u{6587}\u{5b57}.");
            let passage = Passage {
                document: &document,
                text: &text,
                start: row,
                end: row + text.encode_utf16().count(),
                metadata: None,
            };
            writer.add(passage, &[row as f32, 1.0, -1.0, 0.5]).map_err(std::io::Error::other)?;
        }
        let folder =
            std::env::temp_dir().join(format!("embervec-index-{}-{name}", std::process::id()));
        let probe = Probe { text: "probe".into(), vector: vec![1.0, 0.0, 0.0, 0.0] };
        writer.write(&folder, name, None, vec![probe]).map_err(std::io::Error::other)?;
        let mut archive = Archive::default();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            archive.put(&entry.file_name().to_string_lossy(), fs::read(entry.path())?);
        }
        fs::remove_dir_all(&folder)?;
        seeds.push((name.into(), archive.to_bytes()));
    }
    Ok(seeds)
}

const FAST_CONFIG: &str = r#"{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>",
    "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>", "model_max_length": 20}"#;

const WORD_PIECE: &str = r####"{"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 100, "vocab": {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "<mask>": 4, "a": 5, "b": 6,
    "##a": 7, "##b": 8, "walk": 9, "##ing": 10, "##ed": 11, "the": 12, "quick": 13, "é": 14, "##é": 15, "你": 16}}"####;

const UNIGRAM: &str = r#"{"type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["<pad>", 0.0], ["<unk>", 0.0],
    ["<s>", 0.0], ["</s>", 0.0], ["<mask>", 0.0], ["▁", -2.0], ["▁the", -3.5], ["a", -4.0], ["b", -4.5], ["ab", -5.0],
    ["aa", -5.5], ["▁walk", -6.0], ["ing", -6.5], ["é", -7.0], ["你好", -8.0], ["e", -3.0], ["<0xE2>", -9.0]]}"#;

const BPE: &str = r#"{"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
    "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "ignore_merges": false, "vocab": {"<pad>": 0,
    "<unk>": 1, "<s>": 2, "</s>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7, "aab": 8, "t": 9, "h": 10, "e": 11, "th": 12,
    "the": 13, "Ġ": 14, "Ġthe": 15, "é": 16, "aa": 17}, "merges": [["a", "b"], ["t", "h"], ["th", "e"], ["a", "ab"],
    ["Ġ", "the"], ["a", "a"]]}"#;

const WORD_LEVEL: &str = r#"{"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<pad>": 0, "<unk>": 1, "<s>": 2,
    "</s>": 3, "<mask>": 4, "the": 5, "quick": 6, "a": 7, "é": 8, ".": 9}}"#;

const NORMALIZERS: &[&str] = &[
    "null",
    r#"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}"#,
    r#"{"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "NFC"}]}"#,
    r#"{"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}"#,
    r#"{"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}"#,
    r#"{"type": "Strip", "strip_left": true, "strip_right": false}"#,
    r#"{"type": "ByteLevel"}"#,
    r#"{"type": "NFKD"}"#,
];

const PRE_TOKENIZERS: &[&str] = &[
    r#"{"type": "BertPreTokenizer"}"#,
    r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#,
    r#"{"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true}]}"#,
    r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#,
    r#"{"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+"}, "behavior": "MergedWithPrevious", "invert": false}"#,
    r#"{"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": true}]}"#,
    r#"{"type": "CharDelimiterSplit", "delimiter": " "}"#,
    r#"{"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}, {"type": "FixedLength", "length": 3}]}"#,
    "null",
];

const POST_PROCESSORS: &[&str] = &[
    r#"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A",
        "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]},
        "</s>": {"id": "</s>", "ids": [3], "tokens": ["</s>"]}}}"#,
    r#"{"type": "RobertaProcessing", "sep": ["</s>", 3], "cls": ["<s>", 2], "trim_offsets": true, "add_prefix_space": false}"#,
    r#"{"type": "BertProcessing", "sep": ["</s>", 3], "cls": ["<s>", 2]}"#,
    r#"{"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}]}"#,
    "null",
];

const ADDED_TOKENS: &[&str] = &[
    "[]",
    r#"[{"id": 4, "content": "<mask>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": true},
        {"id": 2, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": true, "normalized": false, "special": true},
        {"id": 30, "content": "Quick b", "single_word": true, "lstrip": false, "rstrip": false, "normalized": true, "special": false}]"#,
];

/// tokenizer.json of a model with every part.
fn tokenizers(name: &str, model: &str) -> Vec<Seed> {
    // Two lengths without a common factor: more pairs than each has parts.
    let count = NORMALIZERS.len() * 2;
    let of = |parts: &'static [&'static str], i: usize| parts[i % parts.len()];
    let seeds = (0..count).map(|i| {
        let (normalizer, pre_tokenizer) = (of(NORMALIZERS, i), of(PRE_TOKENIZERS, i));
        let (post_processor, added_tokens) = (of(POST_PROCESSORS, i), of(ADDED_TOKENS, i));
        let json = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": {added_tokens},
                "normalizer": {normalizer}, "pre_tokenizer": {pre_tokenizer}, "post_processor": {post_processor},
                "decoder": null, "model": {model}}}"#
        );
        let archive = Archive::default()
            .with("tokenizer.json", json)
            .with("tokenizer_config.json", FAST_CONFIG);
        (format!("{name}-{i}"), archive.to_bytes())
    });
    let mut seeds: Vec<Seed> = seeds.collect();
    if name == "unigram" {
        // The class decides; of tokenizer.json only the model counts.
        let json = format!(r#"{{"version": "1.0", "model": {model}}}"#);
        let config = r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#;
        let archive = Archive::default()
            .with("tokenizer.json", json)
            .with("tokenizer_config.json", config)
            .with("options.json", r#"{"lowercase": true, "max_seq_length": 9}"#);
        seeds.push(("xlm-roberta".into(), archive.to_bytes()));
    }
    seeds
}

fn word_piece() -> std::io::Result<Vec<Seed>> {
    let mut seeds = tokenizers("word_piece", WORD_PIECE);
    for name in ["tiny-cls", "tiny-cased-notype"] {
        let files = model(name)?.files;
        let files = files.into_iter().filter(|(name, _)| name.starts_with("tokenizer")).collect();
        seeds.push((name.into(), Archive { files }.to_bytes()));
    }
    Ok(seeds)
}

fn vocab_txt() -> Vec<Seed> {
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\nthe\nquick\nwalk\n##ing\né\n##é\n你\n.\n";
    let plain = Archive::default().with("vocab.txt", words);
    let config = r#"{"do_lower_case": false, "strip_accents": true, "tokenize_chinese_chars": false, "model_max_length": 9,
        "additional_special_tokens": ["<x>"], "added_tokens_decoder": {"2": {"content": "[CLS]", "special": true},
        "20": {"content": "quick b", "lstrip": true, "rstrip": false, "normalized": true, "single_word": true, "special": false}},
        "truncation_side": "left", "cls_token": {"content": "[CLS]", "__type": "AddedToken"}}"#;
    let whole = plain
        .clone()
        .with("tokenizer_config.json", config)
        .with("special_tokens_map.json", r#"{"mask_token": {"content": "[MASK]", "lstrip": true}}"#)
        .with("added_tokens.json", r#"{"<y>": 21}"#)
        .with("options.json", r#"{"lowercase": true, "overrides": {"model_max_length": 12}}"#);
    vec![("plain".into(), plain.to_bytes()), ("whole".into(), whole.to_bytes())]
}
