//! A tokenizer of a folder's files.

use std::borrow::Cow;

use embervec_json::{Json, Object};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::{
    BertNormalizer, Lowercase, NFKD, NormalizerWrapper, Sequence, StripAccents,
};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::pre_tokenizers::{self, PreTokenizerWrapper};
use tokenizers::tokenizer::{
    AddedToken, Decoder, Encoding, NormalizedString, Normalizer as _, PostProcessor,
};

use crate::added::{self, AddedTokenJson};
use crate::bpe::Bpe;
use crate::cut::Borders;
use crate::model::{ModelJson, TokenModel, present};
use crate::parts::{self, PostProcessing};
use crate::settings::{Class, FromTokenizerJson, Settings, Side, TOKENIZER_CONFIG, TOKENIZER_JSON};
use crate::template::Template;
use crate::unigram::{self, Unigram};
use crate::word_piece::Vocabulary;
use crate::{Error, Files, Inner, Limit, Result, Tokenizer};

const VOCAB_TXT: &str = "vocab.txt";

/// What the folder's other files say about its tokenizer.
#[derive(Clone, Debug)]
pub struct TokenizerOptions<'a> {
    /// Entries that override those of tokenizer_config.json: the `processor_kwargs` of sentence-transformers.
    pub overrides: Object,
    /// The `tokenizer_class` of config.json, which counts if tokenizer_config.json has none.
    pub config_class: Option<&'a Json>,
    /// The class that counts if neither file names one.
    pub default_class: &'a str,
    /// Whether texts are lower-cased before anything else.
    pub lowercase: bool,
    /// The limit that sentence-transformers sets. It overrides `model_max_length` and the model's positions.
    pub max_seq_length: Option<&'a Json>,
    /// Positions of the model.
    pub max_positions: usize,
    /// Whether the model's special tokens are added to a text.
    pub add_special_tokens: bool,
}

/// A tokenizer.json.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerJson<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    version: Option<Cow<'a, str>>,
    #[serde(default)]
    truncation: Option<Truncation>,
    #[serde(default)]
    padding: Option<Padding>,
    added_tokens: Vec<AddedTokenJson>,
    #[serde(default)]
    normalizer: Option<parts::Normalizer>,
    #[serde(default)]
    pre_tokenizer: Option<parts::PreTokenizer>,
    #[serde(default)]
    post_processor: Option<parts::PostProcessor>,
    #[serde(rename = "decoder", default)]
    _decoder: Option<DecoderJson>,
    #[serde(borrow)]
    model: &'a RawValue,
}

/// Never used, but of a kind that there is.
#[derive(Debug, Deserialize)]
struct DecoderJson {
    #[serde(rename = "type")]
    _kind: DecoderKind,
}

#[derive(Debug, Deserialize)]
#[allow(clippy::upper_case_acronyms, reason = "as in the files")]
enum DecoderKind {
    BPEDecoder,
    ByteFallback,
    ByteLevel,
    CTC,
    Fuse,
    Metaspace,
    Replace,
    Sequence,
    Strip,
    WordPiece,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum Direction {
    Left,
    #[default]
    Right,
}

/// A Transformer's tokenizer has another limit.
#[derive(Debug, Deserialize)]
struct Truncation {
    #[serde(default)]
    direction: Direction,
    max_length: usize,
    strategy: Strategy,
    #[serde(rename = "stride")]
    _stride: u64,
}

#[derive(Debug, Deserialize, PartialEq)]
enum Strategy {
    LongestFirst,
    OnlyFirst,
    OnlySecond,
}

/// Only the token counts: a text is encoded alone, and has no padding.
#[derive(Debug, Deserialize)]
struct Padding {
    pad_token: String,
    #[serde(rename = "strategy")]
    _strategy: IgnoredAny,
    #[serde(rename = "direction")]
    _direction: Direction,
    #[serde(rename = "pad_id")]
    _pad_id: u32,
    #[serde(rename = "pad_type_id")]
    _pad_type_id: u32,
}

impl Direction {
    fn side(self) -> Side {
        match self {
            Self::Left => Side::Left,
            Self::Right => Side::Right,
        }
    }
}

impl Tokenizer {
    /// Makes the tokenizer of a tokenizer.json alone, without special tokens: `Tokenizer.from_file` of Python's `tokenizers`, and
    /// `encode(text, add_special_tokens=False)`.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::new`].
    pub fn of_tokenizer_json(files: &Files) -> Result<Self> {
        let Some(bytes) = files.get(TOKENIZER_JSON) else {
            return Err(Error::MissingFile { file: files.path(TOKENIZER_JSON) });
        };
        let json = read_tokenizer_json(files, bytes)?;
        let cut = json.truncation.as_ref();
        if cut.is_some_and(|cut| cut.strategy == Strategy::OnlySecond) {
            let what = "truncation of the second text only";
            return Err(files.unsupported(TOKENIZER_JSON, what, "LongestFirst, OnlyFirst"));
        }
        let settings = Settings::of_none(cut.map_or(Side::Right, |cut| cut.direction.side()));
        let builder = Builder { files, settings: &settings, json: Some(&json) };
        let (inner, _) = builder.as_it_is()?;
        let limit = cut.map_or(Limit::None, |cut| Limit::Tokens(cut.max_length));
        Ok(Self::of_parts(inner, PostProcessing::nothing(), limit, &settings))
    }

    fn of_parts(inner: Inner, post: PostProcessing, limit: Limit, settings: &Settings) -> Self {
        let added_tokens: Vec<_> = inner.get_added_tokens_decoder().into_values().collect();
        let borders =
            Borders::new(inner.get_normalizer(), inner.get_pre_tokenizer(), &added_tokens);
        let special_ids =
            settings.special_tokens().filter_map(|token| inner.token_to_id(token)).collect();
        Self {
            inner,
            post,
            limit,
            side: settings.truncation_side,
            has_token_types: settings.has_token_types,
            special_ids,
            borders,
        }
    }

    /// Makes the tokenizer of a folder.
    ///
    /// # Errors
    ///
    /// For missing, unreadable or contradictory files, and for what transformers supports and this crate does not.
    pub fn new(files: &Files, options: &TokenizerOptions) -> Result<Self> {
        let json =
            files.get(TOKENIZER_JSON).map(|bytes| read_tokenizer_json(files, bytes)).transpose()?;
        let from_json = json.as_ref().map(|json| FromTokenizerJson {
            added_tokens: &json.added_tokens,
            truncation_side: json.truncation.as_ref().map(|cut| cut.direction.side()),
            pad_token: json.padding.as_ref().map(|padding| &*padding.pad_token),
        });
        let class = options.config_class;
        let settings = Settings::read(
            files,
            &options.overrides,
            class,
            options.default_class,
            from_json.as_ref(),
        )?;
        let builder = Builder { files, settings: &settings, json: json.as_ref() };
        let (mut inner, mut post) = match settings.class {
            Class::Bert | Class::MpNet => builder.bert()?,
            Class::Roberta => builder.roberta()?,
            Class::XlmRoberta | Class::Camembert | Class::Albert => builder.sentence_piece()?,
            Class::AsItIs => builder.as_it_is()?,
        };
        if settings.named("pad_token").is_none() {
            return Err(files.invalid(
                TOKENIZER_CONFIG,
                "there is no pad_token, and Python cannot encode without one",
            ));
        }
        if !options.add_special_tokens {
            post = PostProcessing::nothing();
        }
        inner.set_encode_special_tokens(settings.split_special_tokens);

        if options.lowercase && !has_lowercase(inner.get_normalizer()) {
            let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
            match inner.get_normalizer().cloned() {
                Some(NormalizerWrapper::Sequence(sequence)) => {
                    steps.extend(sequence.as_ref().to_vec())
                }
                normalizer => steps.extend(normalizer),
            }
            let steps = NormalizerWrapper::Sequence(Sequence::new(steps));
            let set = inner.with_normalizer(Some(steps)).map(drop);
            set.map_err(|error| files.invalid(TOKENIZER_JSON, error))?;
        }
        let limit = match options.max_seq_length {
            None => Limit::at_most(options.max_positions, &settings.model_max_length)
                .map_err(|problem| files.invalid(TOKENIZER_CONFIG, problem))?,
            Some(Json::Null) => Limit::None,
            Some(value) => Limit::of(value),
        };
        Ok(Self::of_parts(inner, post, limit, &settings))
    }
}

fn read_tokenizer_json<'a>(files: &Files, bytes: &'a [u8]) -> Result<TokenizerJson<'a>> {
    let json: TokenizerJson = serde_json::from_slice(bytes).map_err(|error| {
        let problem = format!("is not a tokenizer: {error}");
        match error.is_data() {
            true => files.invalid(TOKENIZER_JSON, problem),
            false => files.damaged(TOKENIZER_JSON, problem),
        }
    })?;
    if let Some(version) = json.version.as_deref()
        && version != "1.0"
    {
        return Err(files.unsupported(TOKENIZER_JSON, format!("version \"{version}\""), "\"1.0\""));
    }
    Ok(json)
}

fn has_lowercase(normalizer: Option<&NormalizerWrapper>) -> bool {
    match normalizer {
        Some(NormalizerWrapper::Lowercase(_)) => true,
        Some(NormalizerWrapper::Sequence(sequence)) => {
            sequence.as_ref().iter().any(|step| matches!(step, NormalizerWrapper::Lowercase(_)))
        }
        _ => false,
    }
}

struct Builder<'a> {
    files: &'a Files<'a>,
    settings: &'a Settings,
    json: Option<&'a TokenizerJson<'a>>,
}

impl Builder<'_> {
    fn invalid(&self, problem: impl ToString) -> Error {
        self.files.invalid(TOKENIZER_JSON, problem)
    }

    fn section(&self, name: &str, problem: String) -> Error {
        self.invalid(format!("{name}: {problem}"))
    }

    /// [`BertTokenizer.__init__`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/tokenization_bert.py#L79)
    /// and [`MPNetTokenizer.__init__`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/mpnet/tokenization_mpnet.py#L100)
    fn bert(&self) -> Result<(Inner, PostProcessing)> {
        let settings = self.settings;
        let unk_token = settings.named("unk_token").unwrap_or("None").to_owned();
        let mut inner = Inner::new(TokenModel::bert(self.vocabulary()?, unk_token));
        let normalizer = BertNormalizer::new(
            true,
            settings.tokenize_chinese_chars,
            settings.strip_accents,
            settings.do_lower_case,
        );
        inner
            .with_normalizer(Some(NormalizerWrapper::BertNormalizer(normalizer)))
            .map_err(|error| self.invalid(error))?;
        inner.with_pre_tokenizer(Some(PreTokenizerWrapper::BertPreTokenizer(BertPreTokenizer)));
        self.add_tokens(&mut inner, &[])?;

        // Where there is no such token, Python's text for that takes its place, with these ids.
        let token = |name: &str, id: u32| match settings.named(name) {
            Some(token) => (inner.token_to_id(token).unwrap_or(id), token.to_owned()),
            None => (id, "None".to_owned()),
        };
        if settings.class == Class::MpNet {
            let [cls, sep] = [token("cls_token", 0), token("sep_token", 2)];
            return Ok((inner, PostProcessing::roberta(&cls, &sep, true)));
        }
        let [cls, sep] = [token("cls_token", 2), token("sep_token", 3)];
        let template = self.template(&cls, &sep)?;
        Ok((inner, PostProcessing { template, trims_offsets: false }))
    }

    /// [`RobertaTokenizer.__init__`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/roberta/tokenization_roberta.py#L112)
    fn roberta(&self) -> Result<(Inner, PostProcessing)> {
        let settings = self.settings;
        let json = self.tokenizer_json()?;
        self.check_sections(json)?;
        let model = Bpe::of_parts(json.model.get());
        let model = model.map_err(|problem| self.section("model", problem))?;
        let mut inner = Inner::new(TokenModel::Bpe(model));
        let bytes = ByteLevel::new(settings.add_prefix_space, true, true);
        inner.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(bytes)));
        self.add_tokens(&mut inner, &[])?;
        let cls = self.named(&inner, "cls_token")?;
        let sep = self.named(&inner, "sep_token")?;
        Ok((inner, PostProcessing::roberta(&cls, &sep, settings.trim_offsets)))
    }

    /// The words of a tokenizer.json or, without one, of a vocab.txt.
    fn vocabulary(&self) -> Result<Vocabulary> {
        let Some(json) = self.json else {
            let text = self
                .files
                .get(VOCAB_TXT)
                .ok_or_else(|| Error::MissingFile { file: self.files.path(TOKENIZER_JSON) })?;
            let text =
                str::from_utf8(text).map_err(|error| self.files.damaged(VOCAB_TXT, error))?;
            return Vocabulary::from_lines(text)
                .ok_or_else(|| self.files.invalid(VOCAB_TXT, "is too large"));
        };
        self.check_sections(json)?;
        let model: ModelJson = self.model(json)?;
        model.check(json.model.get()).map_err(|problem| self.section("model", problem))?;
        let vocab = model.vocab.ok_or_else(|| self.invalid("its model has no vocab"))?;
        serde_json::from_str(vocab.get()).map_err(|error| {
            self.section("model", format!("has a vocab that cannot be read: {error}"))
        })
    }

    fn model<'b>(&self, json: &'b TokenizerJson) -> Result<ModelJson<'b>> {
        serde_json::from_str(json.model.get())
            .map_err(|error| self.section("model", format!("cannot be read: {error}")))
    }

    /// What a class overrules must be sound all the same, for Python reads it first.
    fn check_sections(&self, json: &TokenizerJson) -> Result<()> {
        self.normalizer(json)?;
        self.pre_tokenizer(json)?;
        self.post_processing(json).map(drop)
    }

    /// [`XLMRobertaTokenizer.__init__`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/xlm_roberta/tokenization_xlm_roberta.py#L55),
    /// [`CamembertTokenizer.__init__`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/camembert/tokenization_camembert.py#L104)
    /// and [`AlbertTokenizer.__init__`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/albert/tokenization_albert.py#L89)
    fn sentence_piece(&self) -> Result<(Inner, PostProcessing)> {
        #[derive(Deserialize)]
        struct Pieces {
            vocab: unigram::Pieces,
        }
        let settings = self.settings;
        let json = self.tokenizer_json()?;
        self.check_sections(json)?;
        let Pieces { vocab } = serde_json::from_str(json.model.get())
            .map_err(|error| self.section("model", format!("cannot be read: {error}")))?;
        let unk_id = match settings.class {
            Class::Camembert => {
                let unk = settings.named("unk_token").unwrap_or("None");
                vocab.position(unk).unwrap_or(0)
            }
            Class::Albert => 1,
            _ => 3,
        };
        let model = Unigram::new(vocab, Some(unk_id), false);
        let model = model.map_err(|problem| self.section("model", problem))?;
        let mut inner = Inner::new(TokenModel::Unigram(model));
        let mut steps = Vec::new();
        if settings.class == Class::Albert {
            for quotes in ["``", "''"] {
                let replace = Replace::new(ReplacePattern::String(quotes.into()), "\"");
                steps.push(replace.map_err(|error| self.invalid(error))?.into());
            }
            if !settings.keep_accents {
                steps.extend([NormalizerWrapper::NFKD(NFKD), StripAccents.into()]);
            }
            if settings.do_lower_case {
                steps.push(Lowercase.into());
            }
        }
        if let Some(table) = json.normalizer.as_ref().and_then(parts::Normalizer::charsmap) {
            let precompiled = crate::charsmap::precompiled(table);
            let precompiled = precompiled.map_err(|problem| self.section("normalizer", problem))?;
            steps.push(NormalizerWrapper::Precompiled(precompiled));
        }
        let normalizer = match steps.len() {
            0 | 1 => steps.pop(),
            _ => Some(NormalizerWrapper::Sequence(Sequence::new(steps))),
        };
        inner.with_normalizer(normalizer).map_err(|error| self.invalid(error))?;
        let scheme = match settings.add_prefix_space {
            true => PrependScheme::Always,
            false => PrependScheme::Never,
        };
        let steps = pre_tokenizers::sequence::Sequence::new(vec![
            PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit),
            PreTokenizerWrapper::Metaspace(Metaspace::new('▁', scheme, true)),
        ]);
        inner.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(steps)));
        if settings.class == Class::Albert {
            // These names, whatever the tokens are. The vocabulary itself must have them.
            let [cls, sep] = [("cls_token", "[CLS]"), ("sep_token", "[SEP]")]
                .map(|(token, name)| Ok((self.named(&inner, token)?.0, name.to_owned())));
            let template = self.template(&cls?, &sep?)?;
            self.add_tokens(&mut inner, &[])?;
            if json.post_processor.is_some() {
                return Ok((inner, self.post_processing(json)?));
            }
            return Ok((inner, PostProcessing { template, trims_offsets: false }));
        }
        self.add_tokens(&mut inner, &[])?;
        let first = self.named(&inner, "bos_token")?;
        let last = self.named(&inner, "eos_token")?;
        let template = self.template(&first, &last)?;
        Ok((inner, PostProcessing { template, trims_offsets: false }))
    }

    fn tokenizer_json(&self) -> Result<&TokenizerJson<'_>> {
        self.json.ok_or_else(|| Error::MissingFile { file: self.files.path(TOKENIZER_JSON) })
    }

    /// The id and the text of a token that a class cannot do without.
    fn named(&self, inner: &Inner, name: &str) -> Result<(u32, String)> {
        let token = self.settings.named(name);
        token.and_then(|token| Some((inner.token_to_id(token)?, token.to_owned()))).ok_or_else(
            || {
                let problem = format!("there is no {name}, or the vocabulary does not have it");
                self.files.invalid(TOKENIZER_CONFIG, problem)
            },
        )
    }

    /// [`TokenizersBackend`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py#L346)
    fn as_it_is(&self) -> Result<(Inner, PostProcessing)> {
        let json = self.tokenizer_json()?;
        let model = TokenModel::from_json(json.model.get());
        let mut inner = Inner::new(model.map_err(|problem| self.section("model", problem))?);
        inner.with_normalizer(self.normalizer(json)?).map_err(|error| self.invalid(error))?;
        inner.with_pre_tokenizer(self.pre_tokenizer(json)?);
        let present: Vec<AddedToken> =
            json.added_tokens.iter().map(|token| token.token.clone()).collect();
        added::check(present.iter()).map_err(|problem| self.invalid(problem))?;
        inner.add_tokens(present.iter().cloned()).map_err(|error| self.invalid(error))?;
        self.add_tokens(&mut inner, &present)?;
        Ok((inner, self.post_processing(json)?))
    }

    fn normalizer(&self, json: &TokenizerJson) -> Result<Option<NormalizerWrapper>> {
        let normalizer = json.normalizer.as_ref().map(parts::Normalizer::build).transpose();
        normalizer.map_err(|problem| self.section("normalizer", problem))
    }

    fn pre_tokenizer(&self, json: &TokenizerJson) -> Result<Option<PreTokenizerWrapper>> {
        let pre_tokenizer = json.pre_tokenizer.as_ref().map(parts::PreTokenizer::build).transpose();
        pre_tokenizer.map_err(|problem| self.section("pre_tokenizer", problem))
    }

    fn post_processing(&self, json: &TokenizerJson) -> Result<PostProcessing> {
        let post = json.post_processor.as_ref().map(parts::PostProcessor::build).transpose();
        let post = post.map_err(|problem| self.section("post_processor", problem))?;
        Ok(post.unwrap_or_else(PostProcessing::nothing))
    }

    fn add_tokens(&self, inner: &mut Inner, present: &[AddedToken]) -> Result<()> {
        let tokens = self.settings.tokens_to_add(present);
        added::check(present.iter().chain(&tokens))
            .map_err(|problem| self.files.invalid(TOKENIZER_CONFIG, problem))?;
        // The library would find it everywhere, within characters, too.
        for token in present.iter().chain(&tokens).filter(|token| token.normalized) {
            let mut content = NormalizedString::from(&*token.content);
            if let Some(normalizer) = inner.get_normalizer() {
                normalizer.normalize(&mut content).map_err(|error| self.invalid(error))?;
            }
            if content.is_empty() && !token.content.is_empty() {
                let problem = format!(
                    "its normalizer removes every character of the token {:?}",
                    token.content
                );
                return Err(self.invalid(problem));
            }
        }
        inner.add_tokens(tokens).map(drop).map_err(|error| self.invalid(error))
    }

    /// As the library makes it of `"[CLS]:0 $A:0 [SEP]:0"`: a name that this cannot hold is an error there.
    fn template(&self, first: &(u32, String), last: &(u32, String)) -> Result<Template> {
        for (_, token) in [first, last] {
            if token.is_empty() || token.starts_with('$') || token.contains([' ', ':']) {
                let problem = format!(
                    "the special token \"{token}\" must not be empty, begin with $, or contain a space or a colon"
                );
                return Err(self.files.invalid(TOKENIZER_CONFIG, problem));
            }
        }
        Ok(Template::between((first.0, &first.1), (last.0, &last.1)))
    }
}

/// In the place of parts of the library that this crate does itself, or that are never used.
#[derive(Debug)]
pub(crate) enum Nothing {}

impl PostProcessor for Nothing {
    fn added_tokens(&self, _: bool) -> usize {
        match *self {}
    }

    fn process_encodings(&self, _: Vec<Encoding>, _: bool) -> tokenizers::Result<Vec<Encoding>> {
        match *self {}
    }
}

impl Decoder for Nothing {
    fn decode_chain(&self, _: Vec<String>) -> tokenizers::Result<Vec<String>> {
        match *self {}
    }
}
