//! The sections of a `tokenizer.json`, read into shapes of our own, checked, and made into the library's parts.
//!
//! The library's own readers panic, overflow or run for ever on files that nobody has written yet but anybody can write:
//! what it takes for granted is checked here. Formats: <https://github.com/huggingface/tokenizers/tree/v0.23.2/tokenizers/src>.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde::Deserialize;
use tokenizers::normalizers::{self, NormalizerWrapper, Replace};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::pre_tokenizers::whitespace::{Whitespace, WhitespaceSplit};
use tokenizers::pre_tokenizers::{self, PreTokenizerWrapper};
use tokenizers::tokenizer::{NormalizedString, SplitDelimiterBehavior};

use crate::charsmap;
use crate::limits::{
    MAX_CHARSMAP_TEXT_BYTES, MAX_GROWTH, MAX_REGEX_BYTES, MAX_REGEX_STEPS, MAX_REPLACEMENT_BYTES,
    MAX_STEPS,
};
use crate::template::{Template, TemplateProcessing};

/// What is wrong with a part.
pub(crate) type Problem = String;
type Result<T> = std::result::Result<T, Problem>;

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Normalizer {
    #[serde(rename = "BertNormalizer")]
    Bert {
        clean_text: bool,
        handle_chinese_chars: bool,
        #[serde(default)]
        strip_accents: Option<bool>,
        lowercase: bool,
    },
    Strip {
        strip_left: bool,
        strip_right: bool,
    },
    StripAccents,
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    Sequence {
        normalizers: Vec<Normalizer>,
    },
    Lowercase,
    Nmt,
    Precompiled {
        precompiled_charsmap: String,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    Prepend {
        prepend: String,
    },
    ByteLevel,
}

#[derive(Debug, Deserialize)]
pub(crate) enum Pattern {
    String(String),
    Regex(String),
}

impl Pattern {
    /// See [`MAX_REGEX_STEPS`].
    fn regex_steps(&self) -> usize {
        match self {
            Self::String(_) => 0,
            Self::Regex(regex) => Self::hir(regex).map_or(0, |hir| hir_steps(&hir)),
        }
    }

    /// An expression as it is understood; `None` for one that is too long or invalid, which [`check_regex`] refuses.
    fn hir(regex: &str) -> Option<Hir> {
        // Parsed, `\w` takes a thousand times its own length.
        (regex.len() <= MAX_REGEX_BYTES).then(|| regex_syntax::parse(regex).ok()).flatten()
    }
}

impl Normalizer {
    /// The library's.
    pub fn build(&self) -> Result<NormalizerWrapper> {
        if self.steps() > MAX_STEPS {
            return Err(format!("has {} steps; the maximum is {MAX_STEPS}", self.steps()));
        }
        check_regex_steps(self.regex_steps())?;
        self.check_texts()?;
        if self.growth() > MAX_GROWTH {
            return Err(format!("can make a text more than {MAX_GROWTH} times as long"));
        }
        self.build_step()
    }

    fn build_step(&self) -> Result<NormalizerWrapper> {
        Ok(match self {
            &Self::Bert { clean_text, handle_chinese_chars, strip_accents, lowercase } => {
                NormalizerWrapper::BertNormalizer(normalizers::BertNormalizer::new(
                    clean_text,
                    handle_chinese_chars,
                    strip_accents,
                    lowercase,
                ))
            }
            &Self::Strip { strip_left, strip_right } => {
                NormalizerWrapper::StripNormalizer(normalizers::Strip::new(strip_left, strip_right))
            }
            Self::StripAccents => NormalizerWrapper::StripAccents(normalizers::StripAccents),
            Self::Nfc => NormalizerWrapper::NFC(normalizers::NFC),
            Self::Nfd => NormalizerWrapper::NFD(normalizers::NFD),
            Self::Nfkc => NormalizerWrapper::NFKC(normalizers::NFKC),
            Self::Nfkd => NormalizerWrapper::NFKD(normalizers::NFKD),
            Self::Sequence { normalizers: steps } => {
                let steps = steps.iter().map(Self::build_step).collect::<Result<_>>()?;
                NormalizerWrapper::Sequence(normalizers::Sequence::new(steps))
            }
            Self::Lowercase => NormalizerWrapper::Lowercase(normalizers::Lowercase),
            Self::Nmt => NormalizerWrapper::Nmt(normalizers::Nmt),
            Self::Precompiled { precompiled_charsmap } => {
                NormalizerWrapper::Precompiled(charsmap::precompiled(precompiled_charsmap)?)
            }
            Self::Replace { pattern, content } => {
                let replace = match pattern {
                    Pattern::String(text) => {
                        if text.is_empty() {
                            return Err("replaces the empty string".into());
                        }
                        Replace::new(text.as_str(), content)
                    }
                    Pattern::Regex(regex) => {
                        check_regex(regex)?;
                        Replace::new(
                            normalizers::replace::ReplacePattern::Regex(regex.clone()),
                            content,
                        )
                    }
                };
                NormalizerWrapper::Replace(replace.map_err(|error| error.to_string())?)
            }
            // The library takes the text's own first letter for one more.
            Self::Prepend { prepend } if prepend.is_empty() => {
                return Err("prepends nothing".into());
            }
            Self::Prepend { prepend } => {
                NormalizerWrapper::Prepend(normalizers::Prepend::new(prepend.clone()))
            }
            Self::ByteLevel => NormalizerWrapper::ByteLevel(normalizers::ByteLevel),
        })
    }

    /// The table of [`Normalizer::Precompiled`], at the top or as a step.
    pub fn charsmap(&self) -> Option<&str> {
        match self {
            Self::Precompiled { precompiled_charsmap } => Some(precompiled_charsmap),
            Self::Sequence { normalizers } => normalizers.iter().find_map(|step| match step {
                Self::Precompiled { precompiled_charsmap } => Some(&**precompiled_charsmap),
                _ => None,
            }),
            _ => None,
        }
    }

    fn steps(&self) -> usize {
        match self {
            Self::Sequence { normalizers } => {
                normalizers.iter().map(Self::steps).sum::<usize>() + 1
            }
            _ => 1,
        }
    }

    fn check_texts(&self) -> Result<()> {
        let text = match self {
            Self::Sequence { normalizers } => {
                return normalizers.iter().try_for_each(Self::check_texts);
            }
            Self::Replace { content, .. } => content,
            Self::Prepend { prepend } => prepend,
            _ => return Ok(()),
        };
        match text.len() {
            0..=MAX_REPLACEMENT_BYTES => Ok(()),
            len => Err(format!(
                "has a replacement of {len} bytes; the maximum is {MAX_REPLACEMENT_BYTES}"
            )),
        }
    }

    fn regex_steps(&self) -> usize {
        match self {
            Self::Sequence { normalizers } => {
                normalizers.iter().map(Self::regex_steps).fold(0, usize::saturating_add)
            }
            Self::Replace { pattern, .. } => pattern.regex_steps(),
            _ => 0,
        }
    }

    /// By how much it can make a text longer, in bytes. Unicode's forms, of which NFKC makes the most of U+FDFA, 33 bytes of
    /// 3, and a Precompiled count only from the second time on: what they have made stays as it is.
    fn growth(&self) -> usize {
        let mut growth = Growth { times: 1, has_charsmap: false, has_new: false };
        self.grow(&mut growth);
        growth.times
    }

    fn grow(&self, growth: &mut Growth) {
        let times = match self {
            Self::Sequence { normalizers } => {
                return normalizers.iter().for_each(|step| step.grow(growth));
            }
            Self::Replace { pattern, content } => {
                let shortest = match pattern {
                    Pattern::String(text) => text.len(),
                    Pattern::Regex(regex) => {
                        let hir = Pattern::hir(regex);
                        hir.and_then(|hir| hir.properties().minimum_len()).unwrap_or(1)
                    }
                };
                growth.has_new |= has_long_form(content);
                content.len().div_ceil(shortest.max(1)).max(1)
            }
            Self::Prepend { prepend } => {
                growth.has_new |= has_long_form(prepend);
                1 + prepend.len()
            }
            Self::Nfkc | Self::Nfkd if std::mem::take(&mut growth.has_new) => 11,
            Self::Precompiled { .. } if std::mem::replace(&mut growth.has_charsmap, true) => {
                MAX_CHARSMAP_TEXT_BYTES
            }
            // Spaces around ideographs; two bytes for some.
            Self::Bert { handle_chinese_chars: true, .. } | Self::ByteLevel => 2,
            _ => 1,
        };
        growth.times = growth.times.saturating_mul(times);
    }
}

struct Growth {
    times: usize,
    has_charsmap: bool,
    /// Whether there is something again that Unicode's forms make longer.
    has_new: bool,
}

fn has_long_form(content: &str) -> bool {
    let mut form = NormalizedString::from(content);
    form.nfkd();
    form.len() > content.len()
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum PreTokenizer {
    #[serde(rename = "BertPreTokenizer")]
    Bert,
    ByteLevel {
        add_prefix_space: bool,
        #[serde(rename = "trim_offsets")]
        _trim_offsets: bool,
        #[serde(default = "yes")]
        use_regex: bool,
    },
    CharDelimiterSplit {
        delimiter: char,
    },
    Metaspace {
        replacement: char,
        #[serde(default)]
        add_prefix_space: Option<bool>,
        #[serde(default)]
        prepend_scheme: Option<Scheme>,
        #[serde(default)]
        split: Option<bool>,
    },
    Whitespace,
    WhitespaceSplit,
    Sequence {
        pretokenizers: Vec<PreTokenizer>,
    },
    Split {
        pattern: Pattern,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    Punctuation {
        #[serde(default = "isolated")]
        behavior: SplitDelimiterBehavior,
    },
    Digits {
        individual_digits: bool,
    },
    UnicodeScripts,
    FixedLength {
        #[serde(default = "five")]
        length: usize,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scheme {
    First,
    Never,
    Always,
}

fn yes() -> bool {
    true
}

fn five() -> usize {
    5
}

fn isolated() -> SplitDelimiterBehavior {
    SplitDelimiterBehavior::Isolated
}

impl PreTokenizer {
    /// The library's.
    pub fn build(&self) -> Result<PreTokenizerWrapper> {
        if self.steps() > MAX_STEPS {
            return Err(format!("has {} steps; the maximum is {MAX_STEPS}", self.steps()));
        }
        check_regex_steps(self.regex_steps())?;
        self.build_step()
    }

    fn regex_steps(&self) -> usize {
        match self {
            Self::Sequence { pretokenizers } => {
                pretokenizers.iter().map(Self::regex_steps).fold(0, usize::saturating_add)
            }
            Self::Split { pattern, .. } => pattern.regex_steps(),
            _ => 0,
        }
    }

    fn build_step(&self) -> Result<PreTokenizerWrapper> {
        Ok(match self {
            Self::Bert => {
                PreTokenizerWrapper::BertPreTokenizer(pre_tokenizers::bert::BertPreTokenizer)
            }
            &Self::ByteLevel { add_prefix_space, use_regex, .. } => PreTokenizerWrapper::ByteLevel(
                pre_tokenizers::byte_level::ByteLevel::new(add_prefix_space, true, use_regex),
            ),
            &Self::CharDelimiterSplit { delimiter } => PreTokenizerWrapper::Delimiter(
                pre_tokenizers::delimiter::CharDelimiterSplit::new(delimiter),
            ),
            &Self::Metaspace { replacement, add_prefix_space, prepend_scheme, split } => {
                let scheme = match (add_prefix_space, prepend_scheme) {
                    (Some(false), None | Some(Scheme::First | Scheme::Always)) => {
                        return Err(
                            "has an add_prefix_space that contradicts its prepend_scheme".into()
                        );
                    }
                    (_, None | Some(Scheme::Always)) => PrependScheme::Always,
                    (_, Some(Scheme::First)) => PrependScheme::First,
                    (_, Some(Scheme::Never)) => PrependScheme::Never,
                };
                let split = split.unwrap_or(true);
                PreTokenizerWrapper::Metaspace(Metaspace::new(replacement, scheme, split))
            }
            Self::Whitespace => PreTokenizerWrapper::Whitespace(Whitespace),
            Self::WhitespaceSplit => PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit),
            Self::Sequence { pretokenizers: steps } => {
                let steps = steps.iter().map(Self::build_step).collect::<Result<_>>()?;
                PreTokenizerWrapper::Sequence(pre_tokenizers::sequence::Sequence::new(steps))
            }
            Self::Split { pattern, behavior, invert } => {
                let split = match pattern {
                    Pattern::String(text) if text.is_empty() => {
                        return Err("splits at the empty string".into());
                    }
                    Pattern::String(text) => Split::new(text.as_str(), *behavior, *invert),
                    Pattern::Regex(regex) => {
                        check_regex(regex)?;
                        Split::new(SplitPattern::Regex(regex.clone()), *behavior, *invert)
                    }
                };
                PreTokenizerWrapper::Split(split.map_err(|error| error.to_string())?)
            }
            &Self::Punctuation { behavior } => PreTokenizerWrapper::Punctuation(
                pre_tokenizers::punctuation::Punctuation::new(behavior),
            ),
            &Self::Digits { individual_digits } => {
                PreTokenizerWrapper::Digits(pre_tokenizers::digits::Digits::new(individual_digits))
            }
            Self::UnicodeScripts => PreTokenizerWrapper::UnicodeScripts(
                pre_tokenizers::unicode_scripts::UnicodeScripts::new(),
            ),
            Self::FixedLength { length: 0 } => return Err("has the length 0".into()),
            &Self::FixedLength { length } => PreTokenizerWrapper::FixedLength(
                pre_tokenizers::fixed_length::FixedLength::new(length),
            ),
        })
    }

    fn steps(&self) -> usize {
        match self {
            Self::Sequence { pretokenizers } => {
                pretokenizers.iter().map(Self::steps).sum::<usize>() + 1
            }
            _ => 1,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum PostProcessor {
    RobertaProcessing {
        sep: (String, u32),
        cls: (String, u32),
        trim_offsets: bool,
        #[serde(rename = "add_prefix_space")]
        _add_prefix_space: bool,
    },
    BertProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    ByteLevel {
        #[serde(rename = "add_prefix_space")]
        _add_prefix_space: bool,
        trim_offsets: bool,
    },
    TemplateProcessing(TemplateProcessing),
    Sequence {
        processors: Vec<PostProcessor>,
    },
}

/// What a post-processor does.
#[derive(Debug)]
pub(crate) struct PostProcessing {
    pub template: Template,
    /// Whether offsets leave out the white space around a token.
    pub trims_offsets: bool,
}

impl PostProcessing {
    pub fn nothing() -> Self {
        Self { template: Template::nothing(), trims_offsets: false }
    }

    /// `RobertaProcessing` of a text alone.
    pub fn roberta(cls: &(u32, String), sep: &(u32, String), trims_offsets: bool) -> Self {
        let template = Template::between((cls.0, &cls.1), (sep.0, &sep.1));
        Self { template, trims_offsets }
    }
}

impl PostProcessor {
    pub fn build(&self) -> Result<PostProcessing> {
        let template = |template| Ok(PostProcessing { template, trims_offsets: false });
        match self {
            Self::RobertaProcessing { sep, cls, trim_offsets, .. } => Ok(PostProcessing {
                template: Template::between((cls.1, &cls.0), (sep.1, &sep.0)),
                trims_offsets: *trim_offsets,
            }),
            Self::BertProcessing { sep, cls } => {
                template(Template::between((cls.1, &cls.0), (sep.1, &sep.0)))
            }
            &Self::ByteLevel { trim_offsets, .. } => {
                Ok(PostProcessing { trims_offsets: trim_offsets, ..PostProcessing::nothing() })
            }
            Self::TemplateProcessing(json) => template(Template::from_json(json)?),
            Self::Sequence { processors } => {
                let mut all = PostProcessing::nothing();
                for step in processors {
                    let step = step.build()?;
                    if step.template != Template::nothing() {
                        if all.template != Template::nothing() {
                            return Err("applies two templates to a text".into());
                        }
                        all.template = step.template;
                    }
                    all.trims_offsets |= step.trims_offsets;
                }
                Ok(all)
            }
        }
    }
}

/// Expressions that look around themselves, which take more than linear time in general, but not these: the ones that
/// published tokenizers split with.
const KNOWN_REGEXES: &[&str] = &[
    // GPT-2: https://github.com/openai/gpt-2/blob/master/src/encoder.py
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    // cl100k: https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py; also of Llama 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // Qwen 2
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// Refuses an expression whose time may grow faster than a text: with whatever only backtracking finds.
fn check_regex(regex: &str) -> Result<()> {
    if regex.len() > MAX_REGEX_BYTES {
        let len = regex.len();
        return Err(format!(
            "has a regular expression of {len} bytes; the maximum is {MAX_REGEX_BYTES}"
        ));
    }
    if KNOWN_REGEXES.contains(&regex) {
        return Ok(());
    }
    let parsed = regex_syntax::Parser::new().parse(regex).map_err(|_| {
        format!("has the regular expression \"{regex}\", which is invalid or uses look-around")
    })?;
    match parsed.properties().minimum_len() {
        None | Some(0) => Err(format!(
            "has the regular expression \"{regex}\", which also matches the empty string"
        )),
        Some(_) => Ok(()),
    }
}

fn check_regex_steps(steps: usize) -> Result<()> {
    if steps > MAX_REGEX_STEPS {
        return Err(format!(
            "has regular expressions that compile to {steps} steps; the maximum is {MAX_REGEX_STEPS}"
        ));
    }
    Ok(())
}

/// Of the automaton that an expression becomes, nearly.
fn hir_steps(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => 4 * literal.0.len(),
        // A range of Unicode is a few ranges of bytes.
        HirKind::Class(Class::Unicode(class)) => 4 * class.ranges().len(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            hir_steps(&repetition.sub).saturating_add(2).saturating_mul(times as usize)
        }
        HirKind::Capture(capture) => hir_steps(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(hir_steps).fold(1, usize::saturating_add)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::tokenizer::Normalizer as _;
    use tokenizers::tokenizer::PreTokenizer as _;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString};

    use super::*;

    /// A text as a normaliser makes it.
    fn normalized(normalizer: &NormalizerWrapper, text: &str) -> Result<String> {
        let mut normalized = NormalizedString::from(text);
        normalizer.normalize(&mut normalized).map_err(|error| error.to_string())?;
        Ok(normalized.get().to_owned())
    }

    fn normalizer(json: &str) -> Result<NormalizerWrapper> {
        serde_json::from_str::<Normalizer>(json).map_err(|error| error.to_string())?.build()
    }

    fn pre_tokenizer(json: &str) -> Result<PreTokenizerWrapper> {
        serde_json::from_str::<PreTokenizer>(json).map_err(|error| error.to_string())?.build()
    }

    const TEXT: &str = "  A caf\u{e9} \u{4f60}\u{597d} 1234, it's\tFi\u{301}ne!\u{fb01} ";

    /// Every normaliser of the library but Precompiled, with options of both kinds; for that one see `charsmap.rs`.
    #[test]
    fn normalisers_are_the_librarys() {
        for json in [
            r#"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}"#,
            r#"{"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": false, "strip_accents": true, "lowercase": false}"#,
            r#"{"type": "Strip", "strip_left": true, "strip_right": false}"#,
            r#"{"type": "Strip", "strip_left": false, "strip_right": true}"#,
            r#"{"type": "StripAccents"}"#,
            r#"{"type": "NFC"}"#,
            r#"{"type": "NFD"}"#,
            r#"{"type": "NFKC"}"#,
            r#"{"type": "NFKD"}"#,
            r#"{"type": "Lowercase"}"#,
            r#"{"type": "Nmt"}"#,
            r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}"#,
            r#"{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}"#,
            r#"{"type": "Prepend", "prepend": "_"}"#,
            r#"{"type": "ByteLevel"}"#,
            r#"{"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}"#,
            r#"{"type": "Sequence", "normalizers": []}"#,
        ] {
            let theirs: NormalizerWrapper = serde_json::from_str(json).expect(json);
            let ours = normalizer(json).expect(json);
            let [ours, theirs] = [ours, theirs].map(|n| normalized(&n, TEXT).expect(json));
            assert_eq!(ours, theirs, "{json}");
        }
    }

    #[test]
    fn long_texts_are_refused_before_anything_is_made_of_them() {
        let long = "\\\\w".repeat(100_000);
        for json in [
            format!(r#"{{"type": "Replace", "pattern": {{"Regex": "{long}"}}, "content": "x"}}"#),
            format!(r#"{{"type": "Replace", "pattern": {{"String": "x"}}, "content": "{long}"}}"#),
            format!(r#"{{"type": "Prepend", "prepend": "{long}"}}"#),
        ] {
            let started = std::time::Instant::now();
            let error = normalizer(&json).expect_err("too long");
            assert!(error.contains("the maximum is"), "{error}");
            // Parsed, the expression takes seconds and a gigabyte.
            assert!(started.elapsed().as_millis() < 500);
        }
    }

    #[test]
    fn pre_tokenizers_are_the_librarys() {
        let gpt2 = serde_json::to_string(KNOWN_REGEXES[0]).expect("a string");
        let split = format!(
            r#"{{"type": "Split", "pattern": {{"Regex": {gpt2}}}, "behavior": "Isolated", "invert": false}}"#
        );
        for json in [
            r#"{"type": "BertPreTokenizer"}"#,
            r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}"#,
            r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}"#,
            r#"{"type": "CharDelimiterSplit", "delimiter": "a"}"#,
            r#"{"type": "Metaspace", "replacement": "_"}"#,
            r#"{"type": "Metaspace", "replacement": "▁", "add_prefix_space": true, "prepend_scheme": "first", "split": false}"#,
            r#"{"type": "Metaspace", "replacement": "▁", "add_prefix_space": false, "prepend_scheme": "never"}"#,
            r#"{"type": "Whitespace"}"#,
            r#"{"type": "WhitespaceSplit"}"#,
            r#"{"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation"}]}"#,
            r#"{"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithNext", "invert": false}"#,
            r#"{"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed", "invert": true}"#,
            &split,
            r#"{"type": "Punctuation", "behavior": "Contiguous"}"#,
            r#"{"type": "Digits", "individual_digits": true}"#,
            r#"{"type": "UnicodeScripts"}"#,
            r#"{"type": "FixedLength", "length": 3}"#,
            r#"{"type": "FixedLength"}"#,
        ] {
            let theirs: PreTokenizerWrapper = serde_json::from_str(json).expect(json);
            let words = |part: &PreTokenizerWrapper| {
                let mut text = PreTokenizedString::from(TEXT);
                part.pre_tokenize(&mut text).expect(json);
                let splits = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
                splits
                    .into_iter()
                    .map(|(word, offsets, _)| (word.to_owned(), offsets))
                    .collect::<Vec<_>>()
            };
            assert_eq!(words(&pre_tokenizer(json).expect(json)), words(&theirs), "{json}");
        }
    }

    #[test]
    fn what_the_library_does_not_survive_is_refused() {
        let doubled = r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#;
        let many = [doubled; 7].join(",");
        let steps = [r#"{"type": "NFC"}"#; 64].join(",");
        for json in [
            r#"{"type": "Replace", "pattern": {"String": ""}, "content": "a"}"#,
            r#"{"type": "Replace", "pattern": {"Regex": "a*"}, "content": "a"}"#,
            r#"{"type": "Replace", "pattern": {"Regex": "(a|aa)+(?!b)"}, "content": "a"}"#,
            r#"{"type": "Replace", "pattern": {"Regex": "(?<=a)b"}, "content": "a"}"#,
            r#"{"type": "Replace", "pattern": {"Regex": "("}, "content": "a"}"#,
            r#"{"type": "Precompiled", "precompiled_charsmap": "AAAA"}"#,
            r#"{"type": "Precompiled", "precompiled_charsmap": null}"#,
            r#"{"type": "Prepend"}"#,
            r#"{"type": "Prepend", "prepend": ""}"#,
            r#"{"type": "Replace", "pattern": {"Regex": "((a{1,100}){1,100}){1,100}"}, "content": "a"}"#,
            r#"{"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"String": "a"},
                "content": "\ufdfa"}, {"type": "NFKC"}]}"#,
            r#"{"type": "Prepend", "prepend": 5}"#,
            r#"{"type": "Nothing"}"#,
            r#"{}"#,
            &format!(r#"{{"type": "Sequence", "normalizers": [{many}]}}"#),
            &format!(r#"{{"type": "Sequence", "normalizers": [{steps}]}}"#),
        ] {
            assert!(normalizer(json).is_err(), "{json}");
        }
        let long = format!("[{}]", "a".repeat(5000));
        for json in [
            r#"{"type": "FixedLength", "length": 0}"#.to_owned(),
            r#"{"type": "Split", "pattern": {"String": ""}, "behavior": "Removed", "invert": false}"#.to_owned(),
            r#"{"type": "Metaspace", "replacement": "_", "add_prefix_space": false}"#.to_owned(),
            r#"{"type": "Metaspace", "replacement": "__"}"#.to_owned(),
            format!(r#"{{"type": "Split", "pattern": {{"Regex": "{long}"}}, "behavior": "Removed", "invert": false}}"#),
        ] {
            assert!(pre_tokenizer(&json).is_err(), "{json}");
        }
    }
}
