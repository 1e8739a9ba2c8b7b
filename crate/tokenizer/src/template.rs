//! What is put around a text's tokens: `[CLS]` and `[SEP]`, and which segment each token belongs to.

use std::collections::HashMap;

use serde::Deserialize;

use crate::Tokens;
use crate::limits::MAX_TEMPLATE_TOKENS;

/// The tokens around a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text { type_id: u32 },
    Special { tokens: Vec<(u32, String)>, type_id: u32 },
}

/// `TemplateProcessing` of a tokenizer.json.
#[derive(Debug, Deserialize)]
pub(crate) struct TemplateProcessing {
    single: Vec<PieceJson>,
    /// Read, because the library refuses a file without; nobody encodes pairs yet.
    #[serde(rename = "pair")]
    _pair: Vec<PieceJson>,
    special_tokens: HashMap<String, SpecialJson>,
}

#[derive(Debug, Deserialize)]
enum PieceJson {
    Sequence { id: SequenceJson, type_id: u32 },
    SpecialToken { id: String, type_id: u32 },
}

#[derive(Debug, Deserialize)]
enum SequenceJson {
    A,
    B,
}

#[derive(Debug, Deserialize)]
struct SpecialJson {
    ids: Vec<u32>,
    tokens: Vec<String>,
}

impl Template {
    /// A text between two tokens.
    pub fn between(first: (u32, &str), last: (u32, &str)) -> Self {
        let special = |(id, token): (u32, &str)| Piece::Special {
            tokens: vec![(id, token.to_owned())],
            type_id: 0,
        };
        Self(vec![special(first), Piece::Text { type_id: 0 }, special(last)])
    }

    /// A text alone.
    pub fn nothing() -> Self {
        Self(vec![Piece::Text { type_id: 0 }])
    }

    /// Of a tokenizer.json; else what is wrong with it.
    pub fn from_json(json: &TemplateProcessing) -> Result<Self, String> {
        let special = |id: &String, type_id| {
            let SpecialJson { ids, tokens } = json
                .special_tokens
                .get(id)
                .ok_or_else(|| format!("names \"{id}\", which is not one of its special_tokens"))?;
            if ids.len() != tokens.len() {
                return Err(format!(
                    "gives \"{id}\" {} ids, but {} tokens",
                    ids.len(),
                    tokens.len()
                ));
            }
            let tokens = ids.iter().copied().zip(tokens.iter().cloned()).collect();
            Ok(Piece::Special { tokens, type_id })
        };
        // Before anything is copied: a piece may name a thousand tokens, and a thousand pieces may name it.
        let count = json.single.iter().map(|piece| match piece {
            PieceJson::SpecialToken { id, .. } => {
                json.special_tokens.get(id).map_or(0, |special| special.ids.len())
            }
            PieceJson::Sequence { .. } => 0,
        });
        let count = count.fold(0, usize::saturating_add);
        if count > MAX_TEMPLATE_TOKENS || json.single.len() > MAX_TEMPLATE_TOKENS {
            return Err(format!(
                "adds {count} tokens to a text, in {} pieces; the maximum is {MAX_TEMPLATE_TOKENS}",
                json.single.len()
            ));
        }
        let is_text = |piece: &&PieceJson| matches!(piece, PieceJson::Sequence { .. });
        let texts: Vec<_> = json.single.iter().filter(is_text).collect();
        if !matches!(texts[..], [PieceJson::Sequence { id: SequenceJson::A, .. }]) {
            return Err("must contain the text exactly once".into());
        }
        let piece = |piece: &PieceJson| match piece {
            PieceJson::Sequence { type_id, .. } => Ok(Piece::Text { type_id: *type_id }),
            PieceJson::SpecialToken { id, type_id } => special(id, *type_id),
        };
        json.single.iter().map(piece).collect::<Result<_, _>>().map(Self)
    }

    /// Number of tokens that are not the text's.
    pub fn special_token_count(&self) -> usize {
        let count = |piece: &Piece| match piece {
            Piece::Text { .. } => 0,
            Piece::Special { tokens, .. } => tokens.len(),
        };
        self.0.iter().map(count).sum()
    }

    /// The ids of all tokens, and their segments; `text` are those of the text.
    pub fn ids(&self, text: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let (mut ids, mut types) = (Vec::new(), Vec::new());
        for piece in &self.0 {
            let type_id = match piece {
                Piece::Text { type_id } => {
                    ids.extend_from_slice(text);
                    type_id
                }
                Piece::Special { tokens, type_id } => {
                    ids.extend(tokens.iter().map(|&(id, _)| id));
                    type_id
                }
            };
            types.resize(ids.len(), *type_id);
        }
        (ids, types)
    }

    /// All that is known of the tokens; `ids`, `text` and `offsets` are those of the text.
    pub fn tokens(
        &self,
        ids: &[u32],
        text: &[String],
        offsets: &[[u32; 2]],
        truncated: bool,
    ) -> Tokens {
        let (input_ids, token_type_ids) = self.ids(ids);
        let (mut tokens, mut all_offsets) = (Vec::new(), Vec::new());
        for piece in &self.0 {
            match piece {
                Piece::Text { .. } => {
                    tokens.extend_from_slice(text);
                    all_offsets.extend_from_slice(offsets);
                }
                Piece::Special { tokens: special, .. } => {
                    tokens.extend(special.iter().map(|(_, token)| token.clone()));
                    all_offsets.resize(tokens.len(), [0, 0]);
                }
            }
        }
        Tokens { input_ids, token_type_ids, tokens, offsets: all_offsets, truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Template, String> {
        let json: TemplateProcessing = serde_json::from_str(json).map_err(|e| e.to_string())?;
        Template::from_json(&json)
    }

    const A: &str = r#"{"Sequence": {"id": "A", "type_id": 0}}"#;
    const B: &str = r#"{"Sequence": {"id": "B", "type_id": 1}}"#;
    const CLS: &str = r#"{"SpecialToken": {"id": "c", "type_id": 2}}"#;

    #[test]
    fn a_template_is_read() {
        let json = format!(
            r#"{{"single": [{CLS}, {A}], "pair": [{A}, {CLS}, {B}],
                "special_tokens": {{"c": {{"id": "c", "ids": [7, 8], "tokens": ["x", "y"]}}}}}}"#
        );
        let template = read(&json).expect("valid");
        assert_eq!(template.special_token_count(), 2);
        let (ids, types) = template.ids(&[]);
        assert_eq!((ids, types), (vec![7, 8], vec![2, 2]));
        assert_eq!(template.tokens(&[], &[], &[], false).tokens, ["x", "y"]);
    }

    #[test]
    fn a_template_that_the_library_panics_of_is_refused() {
        let special = r#""special_tokens": {"c": {"ids": [7], "tokens": ["x"]}}"#;
        for json in [
            format!(r#"{{"single": [{B}], "pair": [{A}, {B}], {special}}}"#),
            format!(r#"{{"single": [{CLS}], "pair": [{A}, {B}], {special}}}"#),
            format!(r#"{{"single": [{A}, {A}], "pair": [{A}, {B}], {special}}}"#),
            format!(r#"{{"single": [{A}, {CLS}], "pair": [{A}, {B}], "special_tokens": {{}}}}"#),
            format!(
                r#"{{"single": [{A}, {CLS}], "pair": [{A}, {B}],
                    "special_tokens": {{"c": {{"ids": [7], "tokens": ["x", "y"]}}}}}}"#
            ),
            format!(
                r#"{{"single": [{A}{}], "pair": [{A}, {B}], {special}}}"#,
                format!(", {CLS}").repeat(MAX_TEMPLATE_TOKENS + 1)
            ),
            format!(
                r#"{{"single": [{A}, {CLS}], "pair": [{A}, {B}],
                    "special_tokens": {{"c": {{"ids": {ids:?}, "tokens": {tokens:?}}}}}}}"#,
                ids = [7; MAX_TEMPLATE_TOKENS + 1],
                tokens = ["x"; MAX_TEMPLATE_TOKENS + 1]
            ),
        ] {
            assert!(read(&json).is_err(), "{json}");
        }
    }
}
