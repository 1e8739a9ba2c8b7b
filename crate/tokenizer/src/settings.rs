//! What `tokenizer_config.json` and the files beside it say: the class that a folder's tokenizer is of, and what that class
//! is told. As [`PreTrainedTokenizerBase._from_pretrained`] and [`AutoTokenizer.from_pretrained`] read them.
//!
//! [`PreTrainedTokenizerBase._from_pretrained`]: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_base.py#L1781
//! [`AutoTokenizer.from_pretrained`]: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/auto/tokenization_auto.py#L675

use std::collections::{BTreeMap, HashMap, HashSet};

use embervec_json::{Json, Object};
use tokenizers::AddedToken;

use crate::added::{AddedTokenJson, SpecialToken, added_token, special_token};
use crate::{Error, Files, Result};

pub(crate) const TOKENIZER_JSON: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";

/// In place of code of the folder's own, which is not run here.
const CUSTOM_CODE: &str = "a file without this entry";

/// How a class makes its tokenizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Class {
    /// `BertTokenizer`: of tokenizer.json only the vocabulary counts.
    Bert,
    /// `MPNetTokenizer`: the same, with other special tokens.
    MpNet,
    /// `RobertaTokenizer`: only the vocabulary and the merges count.
    Roberta,
    /// `XLMRobertaTokenizer`: only the vocabulary and the table of characters count.
    XlmRoberta,
    /// `CamembertTokenizer`: the same, with other special tokens.
    Camembert,
    /// `AlbertTokenizer`: only the vocabulary, the table of characters and the template count.
    Albert,
    /// `PreTrainedTokenizerFast`: tokenizer.json as it is.
    AsItIs,
}

const SUPPORTED_CLASSES: &str = "BertTokenizer, RobertaTokenizer, XLMRobertaTokenizer, CamembertTokenizer, \
    AlbertTokenizer, MPNetTokenizer, PreTrainedTokenizerFast";

/// The class of a family that has none of its own.
const AS_IT_IS: &str = "PreTrainedTokenizerFast";

/// Classes that are `BertTokenizer`, and whether they give segments.
const BERT_CLASSES: &[(&str, bool)] = &[
    ("BertTokenizer", true),
    ("DPRContextEncoderTokenizer", true),
    ("DPRQuestionEncoderTokenizer", true),
    ("DistilBertTokenizer", false),
    ("ElectraTokenizer", true),
    ("LayoutLMTokenizer", true),
    ("LxmertTokenizer", true),
    ("MobileBertTokenizer", true),
    ("SqueezeBertTokenizer", true),
];

/// Classes that make a tokenizer in their own way, none of which gives segments.
const OWN_CLASSES: &[(&str, Class)] = &[
    ("AlbertTokenizer", Class::Albert),
    ("CamembertTokenizer", Class::Camembert),
    ("MPNetTokenizer", Class::MpNet),
    ("RobertaTokenizer", Class::Roberta),
    ("XLMRobertaTokenizer", Class::XlmRoberta),
];

/// Other classes of transformers 5.23 that make a tokenizer in their own way. A name that it does not know is taken for
/// `PreTrainedTokenizerFast`.
const OTHER_CLASSES: &str = "Auto Bart Barthez Bartpho Basic BertGeneration BertJapanese Bertweet BigBird BioGpt \
    BlenderbotSmall Blenderbot ByT5 CLIP CTRL Canine Character Clvp CodeGen CodeLlama Cohere CpmAnt Cpm \
    DPRReader Deberta DebertaV2 Dia Esm Esmc FNet FSMT FastSpeech2Conformer Flaubert Funnel GPT2 GPTNeoXJapanese GPTNeoX \
    GPTSw3 Gemma Herbert LED Lasr LayoutLMv2 LayoutLMv3 LayoutXLM Llama Luke M2M100 MBart50 MBart MLuke Marian \
    MarkupLM Mecab Mgpstr Mvp MyT5 Nllb Nougat OpenAIGPT PLBart Parakeet Pegasus Perceiver Phobert Pop2Piano ProphetNet \
    Qwen2 Qwen3_5 Rag Reformer RemBert RoCBert RoFormer SeamlessM4T Siglip2 Siglip Speech2Text SpeechT5 Splinter \
    T5 Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper Wordpiece XGLM XLM XLNet";

/// The tokens that have a name, in the order in which they are added.
const NAMED_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Of which side too long a text is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// How many tokens a text may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// No limit.
    None,
    /// This many tokens, special ones included.
    Tokens(usize),
    /// An invalid value in a file, for which Python fails as soon as it gets a text.
    Invalid(String),
}

impl Limit {
    /// The limit that `model_max_length` or another maximum sets. Hugging Face writes 1e30 for "no limit", and treats
    /// everything above 1e20 (`LARGE_INTEGER`) as that.
    pub fn of(value: &Json) -> Self {
        match value {
            Json::Int(tokens) if *tokens >= 0 => {
                Self::Tokens((*tokens).try_into().unwrap_or(usize::MAX))
            }
            Json::Bool(flag) => Self::Tokens(usize::from(*flag)),
            Json::LongInt(tokens) if *tokens > 1e20 => Self::None,
            Json::Float(tokens) if *tokens > 1e20 => Self::None,
            value => Self::Invalid(format!("{value} is not a valid number of tokens")),
        }
    }

    /// `min(positions, model_max_length)`, which `None` is no error for: it means a number above every other.
    pub(crate) fn at_most(
        positions: usize,
        model_max_length: &Json,
    ) -> std::result::Result<Self, String> {
        let is_smaller = match model_max_length {
            Json::Null => false,
            Json::Bool(flag) => usize::from(*flag) < positions,
            Json::Int(tokens) => usize::try_from(*tokens).map_or(*tokens < 0, |n| n < positions),
            // NaN fails where a text comes.
            Json::LongInt(tokens) | Json::Float(tokens) => {
                tokens.is_nan() || *tokens < positions as f64
            }
            value => return Err(format!("model_max_length {value} is not a number")),
        };
        Ok(if is_smaller { Self::of(model_max_length) } else { Self::Tokens(positions) })
    }
}

/// What a class is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub class: Class,
    /// Named tokens by name, those of the model's own last.
    named: Vec<(String, SpecialToken)>,
    extra: Vec<SpecialToken>,
    /// By id, as the file has it.
    added: BTreeMap<i64, AddedToken>,
    pub do_lower_case: bool,
    pub strip_accents: Option<bool>,
    pub keep_accents: bool,
    pub tokenize_chinese_chars: bool,
    pub add_prefix_space: bool,
    pub trim_offsets: bool,
    pub split_special_tokens: bool,
    pub has_token_types: bool,
    pub model_max_length: Json,
    pub truncation_side: Side,
}

/// What a tokenizer.json adds to [`Settings`].
pub(crate) struct FromTokenizerJson<'a> {
    pub added_tokens: &'a [AddedTokenJson],
    pub truncation_side: Option<Side>,
    pub pad_token: Option<&'a str>,
}

impl Settings {
    /// Of a tokenizer.json without any other file.
    pub fn of_none(truncation_side: Side) -> Self {
        Self {
            class: Class::AsItIs,
            named: Vec::new(),
            extra: Vec::new(),
            added: BTreeMap::new(),
            do_lower_case: true,
            strip_accents: None,
            keep_accents: false,
            tokenize_chinese_chars: true,
            add_prefix_space: true,
            trim_offsets: true,
            split_special_tokens: false,
            has_token_types: false,
            model_max_length: Json::Null,
            truncation_side,
        }
    }

    /// Reads the files. `overrides` are entries that override those of tokenizer_config.json, `config_class` is the
    /// `tokenizer_class` of config.json, and `default_class` what counts if neither file names one.
    pub fn read(
        files: &Files,
        overrides: &Object,
        config_class: Option<&Json>,
        default_class: &str,
        from_json: Option<&FromTokenizerJson>,
    ) -> Result<Self> {
        let mut config = files.object(TOKENIZER_CONFIG)?.unwrap_or_default();
        let (class, has_token_types) = class_of(files, &config, config_class, default_class)?;
        for (key, value) in overrides.iter() {
            config.insert(key, value.clone());
        }
        let reader = Reader { files, config };
        reader.refuse_what_is_not_computed()?;
        let (config, added) = reader.with_special_tokens(overrides, from_json)?;
        let reader = Reader { files, config };

        let mut named = Vec::new();
        for name in NAMED_TOKENS {
            let default = default_token(class, name).map(|token| plain_token(class, name, token));
            let from_padding =
                from_json.and_then(|json| json.pad_token).filter(|_| name == "pad_token");
            let default = default.or(from_padding.map(|token| SpecialToken::Plain(token.into())));
            let token = match reader.config.get(name) {
                None => default,
                Some(Json::Null) => None,
                Some(value) => match reader.special_token(name, value, true)? {
                    SpecialToken::Plain(token) => Some(plain_token(class, name, &token)),
                    token => Some(token),
                },
            };
            named.extend(token.map(|token| (name.to_owned(), with_flags(token, &added))));
        }
        named.extend(reader.own_tokens()?);
        let truncation_side = match reader.config.get("truncation_side") {
            None => from_json.and_then(|json| json.truncation_side).unwrap_or(Side::Right),
            Some(value) => reader.side("truncation_side", value)?,
        };
        if let Some(value) = reader.config.get("padding_side") {
            reader.side("padding_side", value)?;
        }
        let is_words = matches!(class, Class::Bert | Class::MpNet);
        let is_bytes = class == Class::Roberta;
        let is_true = |key: &str, default| reader.config.get(key).map_or(default, Json::is_true);
        Ok(Self {
            class,
            named,
            extra: reader.extra_tokens(class)?,
            added,
            do_lower_case: match class {
                Class::Albert => is_true("do_lower_case", true),
                _ => reader.flag("do_lower_case", true, is_words)?,
            },
            strip_accents: match reader.config.get_some("strip_accents") {
                None => None,
                Some(_) => Some(reader.flag("strip_accents", false, is_words)?),
            },
            keep_accents: is_true("keep_accents", false),
            tokenize_chinese_chars: reader.flag("tokenize_chinese_chars", true, is_words)?,
            add_prefix_space: match is_bytes {
                true => reader.flag("add_prefix_space", false, true)?,
                false => is_true("add_prefix_space", true),
            },
            trim_offsets: reader.flag("trim_offsets", true, is_bytes)?,
            split_special_tokens: reader.flag("split_special_tokens", false, true)?,
            has_token_types: match reader.config.get("model_input_names") {
                None => has_token_types,
                Some(Json::List(names)) => {
                    names.iter().any(|name| name.as_str() == Some("token_type_ids"))
                }
                Some(value) => {
                    return Err(reader.unsupported("model_input_names", value, "a list of names"));
                }
            },
            model_max_length: reader.model_max_length().clone(),
            truncation_side,
        })
    }

    /// The token of this name.
    pub fn named(&self, name: &str) -> Option<&str> {
        self.named.iter().find_map(|(known, token)| (known == name).then(|| token.content()))
    }

    /// The special tokens: named ones, then the others.
    pub fn special_tokens(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(_, token)| token).chain(&self.extra).map(SpecialToken::content)
    }

    /// The tokens to add to a tokenizer that has these already, in order:
    /// [`TokenizersBackend.__init__`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py#L346).
    pub fn tokens_to_add(&self, present: &[AddedToken]) -> Vec<AddedToken> {
        let by_content: HashMap<&str, &AddedToken> =
            present.iter().map(|token| (token.content.as_str(), token)).collect();
        let is_present = |token: &AddedToken| {
            by_content.get(token.content.as_str()).is_some_and(|p| *p == token)
        };
        let mut tokens: Vec<AddedToken> =
            self.added.values().filter(|token| !is_present(token)).cloned().collect();
        let mut known: HashSet<String> =
            present.iter().chain(&tokens).map(|token| token.content.clone()).collect();
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            // A token that occurs twice is added once: a second time would change nothing.
            if !known.insert(token.content().to_owned()) {
                continue;
            }
            tokens.push(match token {
                SpecialToken::Plain(content) => AddedToken::from(content.clone(), true),
                SpecialToken::Added(token) => token.clone(),
            });
        }
        let named: HashSet<&str> = self.named.iter().map(|(_, token)| token.content()).collect();
        for token in &mut tokens {
            token.special |= named.contains(token.content.as_str());
        }
        tokens
    }
}

/// The name of a class's token where nobody says otherwise.
fn default_token(class: Class, name: &str) -> Option<&'static str> {
    match (class, name) {
        (Class::Bert, "unk_token") => Some("[UNK]"),
        (Class::Bert, "sep_token") => Some("[SEP]"),
        (Class::Bert, "pad_token") => Some("[PAD]"),
        (Class::Bert, "cls_token") => Some("[CLS]"),
        (Class::Bert, "mask_token") => Some("[MASK]"),
        (Class::Bert | Class::AsItIs, _) => None,
        (Class::Albert, "bos_token" | "cls_token") => Some("[CLS]"),
        (Class::Albert, "eos_token" | "sep_token") => Some("[SEP]"),
        (Class::Albert, "mask_token") => Some("[MASK]"),
        (Class::MpNet, "unk_token") => Some("[UNK]"),
        (_, "bos_token" | "cls_token") => Some("<s>"),
        (_, "eos_token" | "sep_token") => Some("</s>"),
        (_, "unk_token") => Some("<unk>"),
        (_, "pad_token") => Some("<pad>"),
        (_, "mask_token") => Some("<mask>"),
        _ => None,
    }
}

/// What a class makes of a token's name.
fn plain_token(class: Class, name: &str, token: &str) -> SpecialToken {
    match (class, name) {
        // https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/camembert/tokenization_camembert.py#L124
        // https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/tokenization_mpnet.py#L140
        (Class::Camembert | Class::MpNet, "mask_token") => {
            SpecialToken::Added(AddedToken::from(token, true).lstrip(true))
        }
        _ => SpecialToken::Plain(token.into()),
    }
}

/// With the flags that it has as an added token.
fn with_flags(token: SpecialToken, added: &BTreeMap<i64, AddedToken>) -> SpecialToken {
    // Of a token that occurs twice the last one counts, as in a map by content.
    match added.values().rev().find(|added| added.content == token.content()) {
        Some(added) => SpecialToken::Added(added.clone()),
        None => token,
    }
}

/// The class, and whether it gives segments.
fn class_of(
    files: &Files,
    config: &Object,
    config_class: Option<&Json>,
    default_class: &str,
) -> Result<(Class, bool)> {
    let has_no_own = default_class == AS_IT_IS;
    let default_class = Json::Str(default_class.into());
    let config_class = config_class.filter(|value| **value != Json::Null);
    let (file, value) = match (config.get_some("tokenizer_class"), config_class) {
        (Some(value), None) => (TOKENIZER_CONFIG, value),
        (Some(value), Some(_)) if value.is_true() => (TOKENIZER_CONFIG, value),
        (_, Some(value)) => ("config.json", value),
        (None, None) => ("config.json", &default_class),
    };
    let what = format!("tokenizer_class {value}");
    let Some(name) = value.as_str() else {
        return Err(files.invalid(file, format!("{what} is not a string")));
    };
    // Of such a family it counts whatever the files say:
    // https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/auto/tokenization_auto.py#L868
    if has_no_own {
        return Ok((Class::AsItIs, false));
    }
    let name = name.strip_suffix("Fast").unwrap_or(name);
    // Other classes of transformers (BertModel, BertForMaskedLM, …): Python makes one, and fails when a text comes.
    let is_other = ["Model", "Config", "Processor", "Extractor", "TokenizerLegacy"]
        .iter()
        .any(|suffix| name.ends_with(suffix));
    if is_other || name.contains("For") {
        return Err(files.unsupported(file, what, SUPPORTED_CLASSES));
    }
    if let Some(&(_, has_token_types)) = BERT_CLASSES.iter().find(|(known, _)| *known == name) {
        return Ok((Class::Bert, has_token_types));
    }
    if let Some(&(_, class)) = OWN_CLASSES.iter().find(|(known, _)| *known == name) {
        return Ok((class, false));
    }
    let other = name.strip_suffix("Tokenizer");
    if other.is_some_and(|other| OTHER_CLASSES.split_whitespace().any(|known| known == other)) {
        return Err(files.unsupported(file, what, SUPPORTED_CLASSES));
    }
    Ok((Class::AsItIs, false))
}

struct Reader<'a> {
    files: &'a Files<'a>,
    config: Object,
}

impl Reader<'_> {
    fn invalid(&self, key: &str, value: &Json, problem: &str) -> Error {
        self.files.invalid(TOKENIZER_CONFIG, format!("{key} {value} {problem}"))
    }

    fn unsupported(&self, key: &str, value: &Json, supported: &str) -> Error {
        self.files.unsupported(TOKENIZER_CONFIG, format!("{key} {value}"), supported)
    }

    fn refuse_what_is_not_computed(&self) -> Result<()> {
        for (key, supported) in [
            ("auto_map", CUSTOM_CODE),
            ("init_inputs", "[]"),
            ("fast_tokenizer_files", "tokenizer.json"),
        ] {
            if let Some(value) = self.config.get(key)
                && (value.is_true() || *value == Json::Null)
            {
                return Err(self.unsupported(key, value, supported));
            }
        }
        if let Some(value) = self.config.get_some("processor_class") {
            return Err(self.unsupported("processor_class", value, CUSTOM_CODE));
        }
        Ok(())
    }

    fn special_token(&self, key: &str, value: &Json, is_named: bool) -> Result<SpecialToken> {
        special_token(value, is_named).map_err(|problem| self.invalid(key, value, &problem))
    }

    /// A truth value where the class passes it on to the library, which takes nothing else.
    fn flag(&self, key: &str, default: bool, is_read: bool) -> Result<bool> {
        match self.config.get(key) {
            Some(value) if is_read => {
                value.as_bool().ok_or_else(|| self.invalid(key, value, "is not true or false"))
            }
            _ => Ok(default),
        }
    }

    fn side(&self, key: &str, value: &Json) -> Result<Side> {
        match value.as_str() {
            Some("left") => Ok(Side::Left),
            Some("right") => Ok(Side::Right),
            _ => Err(self.invalid(key, value, "is neither \"left\" nor \"right\"")),
        }
    }

    fn model_max_length(&self) -> &Json {
        let value = self.config.get("model_max_length").or_else(|| self.config.get("max_len"));
        value.unwrap_or(&Json::Null)
    }

    /// The entries with those of special_tokens_map.json, and the added tokens.
    fn with_special_tokens(
        &self,
        overrides: &Object,
        from_json: Option<&FromTokenizerJson>,
    ) -> Result<(Object, BTreeMap<i64, AddedToken>)> {
        let mut config = self.config.clone();
        if !config.get("extra_special_tokens").is_some_and(Json::is_true)
            && let Some(tokens) = config.remove("additional_special_tokens")
        {
            config.insert("extra_special_tokens", tokens);
        }
        let mut added = BTreeMap::new();
        if let Some(tokens) = config.get("added_tokens_decoder") {
            let invalid = |problem: &str| self.invalid("added_tokens_decoder", tokens, problem);
            let tokens = tokens.as_object().ok_or_else(|| invalid("is not an object"))?;
            for (id, token) in tokens.iter() {
                let id =
                    id.trim().parse().map_err(|_| invalid("has an id that is not a number"))?;
                let token = token
                    .as_object()
                    .ok_or_else(|| invalid("has a token that is not an object"))?;
                added.insert(id, added_token(token, None).map_err(|problem| invalid(&problem))?);
            }
            return Ok((config, added));
        }

        if let Some(map) = self.files.object(SPECIAL_TOKENS_MAP)? {
            for (key, value) in map.iter() {
                if overrides.get(key).is_some_and(Json::is_true) {
                    continue;
                }
                let invalid = |problem: &str| {
                    self.files.invalid(SPECIAL_TOKENS_MAP, format!("{key} {value} {problem}"))
                };
                let value = match value {
                    Json::Object(token) if key != "extra_special_tokens" => {
                        let mut token = token.clone();
                        token.remove("special");
                        added_token(&token, Some(true)).map_err(|problem| invalid(&problem))?;
                        token.insert("special", Json::Bool(true));
                        token.insert("__type", Json::Str("AddedToken".into()));
                        Json::Object(token)
                    }
                    value => value.clone(),
                };
                config.insert(key, value);
            }
        }
        if let Some(tokens) = self.files.object(ADDED_TOKENS)? {
            for (content, id) in tokens.iter() {
                let invalid = || {
                    let problem = format!("\"{content}\" has the id {id}, which is not an integer");
                    self.files.invalid(ADDED_TOKENS, problem)
                };
                let Json::Int(id) = id else { return Err(invalid()) };
                let is_special = NAMED_TOKENS
                    .iter()
                    .any(|name| config.get(name).and_then(Json::as_str) == Some(content));
                added.insert(*id, AddedToken::from(content, is_special).normalized(!is_special));
            }
        }
        for AddedTokenJson { id, token } in from_json.map_or(&[][..], |json| json.added_tokens) {
            added.insert(i64::from(*id), token.clone());
        }
        Ok((config, added))
    }

    /// Tokens with a name of the model's own: keys that end with `_token`, and entries of an `extra_special_tokens` that is
    /// an object.
    fn own_tokens(&self) -> Result<Vec<(String, SpecialToken)>> {
        let mut tokens = Vec::new();
        for (key, value) in self.config.iter() {
            let is_own = key.ends_with("_token") && !NAMED_TOKENS.contains(&key);
            if let (true, Ok(token)) = (is_own, special_token(value, true)) {
                tokens.push((key.to_owned(), token));
            }
        }
        if let Some(Json::Object(named)) = self.config.get("extra_special_tokens") {
            for (name, value) in named.iter() {
                tokens.push((
                    name.to_owned(),
                    self.special_token("extra_special_tokens", value, true)?,
                ));
            }
        }
        Ok(tokens)
    }

    fn extra_tokens(&self, class: Class) -> Result<Vec<SpecialToken>> {
        let key = "extra_special_tokens";
        match self.config.get(key).or_else(|| self.config.get("additional_special_tokens")) {
            // Its own, where a file names none.
            None | Some(Json::Object(_)) if class == Class::Camembert => {
                let own = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"];
                Ok(own.map(|token| SpecialToken::Plain(token.into())).to_vec())
            }
            None | Some(Json::Null | Json::Object(_)) => Ok(Vec::new()),
            Some(Json::List(tokens)) => {
                tokens.iter().map(|token| self.special_token(key, token, false)).collect()
            }
            Some(value) => Err(self.invalid(key, value, "is neither a list nor an object")),
        }
    }
}
