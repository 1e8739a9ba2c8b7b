//! Tokens beside the vocabulary, which are found in a text before anything else: `AddedToken`.

use embervec_json::{Json, Object};
use serde::Deserialize;
use tokenizers::AddedToken;

use crate::limits::{MAX_ADDED_BYTES, MAX_ADDED_TOKENS};

/// In the section `added_tokens` of a tokenizer.json.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AddedTokenJson {
    pub id: u32,
    #[serde(flatten)]
    pub token: AddedToken,
}

/// A special token as transformers holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SpecialToken {
    Plain(String),
    Added(AddedToken),
}

impl SpecialToken {
    pub fn content(&self) -> &str {
        match self {
            Self::Plain(content) => content,
            Self::Added(token) => &token.content,
        }
    }
}

/// What is wrong with a value.
type Result<T> = std::result::Result<T, String>;

/// A string, or `{"__type": "AddedToken", …}`. One that has a name is special, whatever it says of that; so it is not
/// normalized, unless it says so.
pub(crate) fn special_token(value: &Json, is_named: bool) -> Result<SpecialToken> {
    match value {
        Json::Str(content) => Ok(SpecialToken::Plain(content.clone())),
        Json::Object(object)
            if object.get("__type").and_then(Json::as_str) == Some("AddedToken") =>
        {
            added_token(object, is_named.then_some(true)).map(SpecialToken::Added)
        }
        _ => Err("is neither a string nor an AddedToken".into()),
    }
}

/// `AddedToken(**object)`; `special` overrules what it says of that.
pub(crate) fn added_token(object: &Object, special: Option<bool>) -> Result<AddedToken> {
    let flag = |name: &str| match object.get(name) {
        None => Ok(None),
        Some(Json::Bool(flag)) => Ok(Some(*flag)),
        Some(value) => Err(format!("has {name} {value}, which is not true or false")),
    };
    let content = match object.get("content") {
        None | Some(Json::Null) => "",
        Some(Json::Str(content)) => content,
        Some(value) => return Err(format!("has content {value}, which is not a string")),
    };
    let special = special.or(flag("special")?).unwrap_or(false);
    let token = AddedToken::from(content, special);
    Ok(token
        .single_word(flag("single_word")?.unwrap_or(false))
        .lstrip(flag("lstrip")?.unwrap_or(false))
        .rstrip(flag("rstrip")?.unwrap_or(false))
        .normalized(flag("normalized")?.unwrap_or(!special)))
}

/// Refuses what the library does not survive.
pub(crate) fn check<'a>(tokens: impl Iterator<Item = &'a AddedToken> + Clone) -> Result<()> {
    let count = tokens.clone().count();
    let bytes: usize = tokens.clone().map(|token| token.content.len()).sum();
    if count > MAX_ADDED_TOKENS || bytes > MAX_ADDED_BYTES {
        return Err(format!(
            "there are {count} added tokens with {bytes} bytes; the maximum is {MAX_ADDED_TOKENS} with {MAX_ADDED_BYTES} bytes"
        ));
    }
    // White space that one token takes could be another one's, and again the next one's.
    let strips = tokens.clone().any(|token| token.lstrip || token.rstrip);
    let is_space = |token: &&AddedToken| {
        token.content.starts_with(char::is_whitespace)
            || token.content.ends_with(char::is_whitespace)
    };
    match tokens.clone().find(is_space) {
        Some(token) if strips => Err(format!(
            "the added token {:?} begins or ends with white space, and another added token strips white space",
            token.content
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn defaults_are_those_of_python() {
        let token = |text: &str| added_token(json(text).as_object().expect("an object"), None);
        let plain = token(r#"{"content": "a", "whatever": 1}"#).expect("valid");
        assert_eq!(plain, AddedToken::from("a", false));
        assert!(plain.normalized);
        let special = token(r#"{"content": "a", "special": true, "lstrip": true}"#).expect("valid");
        assert_eq!(special, AddedToken::from("a", true).lstrip(true));
        assert!(!special.normalized);
        for text in
            [r#"{"content": 5}"#, r#"{"content": "a", "lstrip": 1}"#, r#"{"special": null}"#]
        {
            assert!(token(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_special_token_is_a_string_or_says_what_it_is() {
        assert_eq!(special_token(&json("\"x\""), true), Ok(SpecialToken::Plain("x".into())));
        let added = special_token(&json(r#"{"__type": "AddedToken", "content": "x"}"#), false);
        assert_eq!(added, Ok(SpecialToken::Added(AddedToken::from("x", false))));
        for text in
            ["null", "5", "[]", r#"{"content": "x"}"#, r#"{"__type": "Other"}"#, r#""\ud800""#]
        {
            assert!(special_token(&json(text), true).is_err(), "{text}");
        }
    }

    #[test]
    fn white_space_that_two_tokens_claim_is_refused() {
        let tokens = [AddedToken::from(" ", false), AddedToken::from("a", false)];
        check(tokens.iter()).expect("nobody strips");
        let tokens = [AddedToken::from(" a", false), AddedToken::from("b", false).rstrip(true)];
        assert!(check(tokens.iter()).is_err());
        let token = AddedToken::from("a".repeat(100), false);
        assert!(check(vec![token; 11_000].iter()).is_err());
    }
}
