//! A tokenizer of a folder's files, and texts. Beside the files of a folder, `options.json` has what others of them
//! say: `lowercase`, `max_seq_length`, `add_special_tokens`, `overrides` and `config_class`.

use std::collections::BTreeMap;

use embervec_json::Json;
use embervec_tokenizer::{Error, Files, Limit, Tokenizer, TokenizerOptions};

use super::{check_message, check_same};
use crate::archive::Archive;
use crate::texts::{check_tokens, texts};

/// Of the model that the tokenizer is of.
const POSITIONS: usize = 64;

pub(super) fn run(bytes: &[u8]) -> Result<usize, String> {
    let archive = Archive::parse(bytes);
    let texts = texts(archive.get("texts.txt"));
    let size = bytes.len() + texts.iter().map(String::len).sum::<usize>();
    let files: BTreeMap<String, Vec<u8>> = archive.files.iter().cloned().collect();

    let options = archive.get("options.json").and_then(|json| Json::parse(json).ok());
    let options = options.as_ref().and_then(Json::as_object).cloned().unwrap_or_default();
    let options = TokenizerOptions {
        overrides: options.get("overrides").and_then(Json::as_object).cloned().unwrap_or_default(),
        config_class: options.get("config_class"),
        default_class: "BertTokenizer",
        lowercase: options.get("lowercase").is_some_and(Json::is_true),
        max_seq_length: options.get("max_seq_length"),
        add_special_tokens: options.get("add_special_tokens").is_none_or(Json::is_true),
        max_positions: POSITIONS,
    };
    let names = [
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "added_tokens.json",
        "special_tokens_map.json",
    ];
    let names: Vec<&str> = names.into_iter().chain(["config.json"]).collect();
    let tokenizer = match Tokenizer::new(&Files::new(&files, ""), &options) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            check_message(&error.to_string(), &names)?;
            return Ok(size);
        }
    };
    for text in &texts {
        for limit in [tokenizer.limit(), &Limit::Tokens(7), &Limit::None] {
            check_text(&tokenizer, text, limit).map_err(|problem| {
                format!("{:.60} within {limit:?}: {problem}", format!("{text:?}"))
            })?;
        }
    }
    Ok(size)
}

fn check_text(tokenizer: &Tokenizer, text: &str, limit: &Limit) -> Result<(), String> {
    let (ids, tokens) = match (tokenizer.ids(text, limit), tokenizer.tokens(text, limit)) {
        (Ok(ids), Ok(tokens)) => (ids, tokens),
        (Err(ids), Err(tokens)) => {
            for error in [ids, tokens] {
                if !matches!(error, Error::Text(_)) {
                    return Err(format!("an error that is not about the text: {error}"));
                }
            }
            return Ok(());
        }
        (ids, tokens) => return Err(format!("{ids:?}, but {tokens:?}")),
    };
    let most = match limit {
        // As in Python, one that the special tokens alone exceed is none.
        Limit::Tokens(most) => Some(*most).filter(|most| *most >= tokenizer.special_token_count()),
        Limit::None | Limit::Invalid(_) => None,
    };
    check_tokens(text, &tokens, most)?;
    check_same("ids", &ids.input_ids, &tokens.input_ids)?;
    check_same("types", &ids.token_type_ids, &tokens.token_type_ids)?;
    check_same("truncated", &ids.truncated, &tokens.truncated)
}
