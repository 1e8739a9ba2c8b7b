//! The CPU's artefact: `embervec-embed` for JavaScript.

use std::collections::BTreeMap;

use burn::tensor::Device;
use embervec_embed as embed;
use embervec_kernels::Selection;
use js_sys::{Array, Float32Array, Object, Uint8Array, Uint32Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::{Result, js_error, set};

#[wasm_bindgen]
extern "C" {
    /// Milliseconds.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// What is known of a model folder; see `embervec_embed::Folder`.
#[wasm_bindgen]
pub struct Folder(embed::Folder);

#[derive(Serialize)]
struct FolderFile<'a> {
    path: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    packed: Option<&'a str>,
}

#[wasm_bindgen]
impl Folder {
    /// A folder of which nothing is known.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default, reason = "JavaScript has no Default")]
    pub fn new() -> Self {
        Self(embed::Folder::default())
    }

    /// The files to ask for next: `{ path, kind: "small" | "weights" | "probe", packed? }[]`.
    pub fn wanted(&self) -> Result<JsValue> {
        files_to_js(&self.0.wanted().map_err(to_js)?)
    }

    /// The files with weights, once nothing is wanted any more; as [`Folder::wanted`].
    pub fn weights(&self) -> Result<JsValue> {
        files_to_js(&self.0.weights().map_err(to_js)?)
    }

    /// A small file's bytes.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.put(path, bytes).map_err(to_js)
    }

    /// A file that is not read whole is there.
    pub fn found(&mut self, path: &str) {
        self.0.found(path);
    }

    /// A file is not there.
    pub fn absent(&mut self, path: &str) {
        self.0.absent(path);
    }
}

fn files_to_js(files: &[embed::FolderFile]) -> Result<JsValue> {
    let files: Vec<_> = files
        .iter()
        .map(|file| FolderFile {
            path: &file.path,
            kind: match file.kind {
                embed::FileKind::Small => "small",
                embed::FileKind::Weights => "weights",
                embed::FileKind::Probe => "probe",
            },
            packed: file.packed.as_deref(),
        })
        .collect();
    to_value(&files)
}

/// Panics with this message: the tests' way to see what a page sees of a panic.
#[wasm_bindgen(js_name = panicForTest)]
pub fn panic_for_test(message: &str) {
    panic!("{message}");
}

/// Takes a model folder's files; see `embervec_embed::Loader`.
#[wasm_bindgen]
pub struct Loader {
    loader: embed::Loader,
    /// Those that were measured at an earlier visit.
    kernels: Option<Selection>,
}

#[wasm_bindgen]
impl Loader {
    /// `dtype` is `"fp32"`, `"fp16"` or `"q8"`; `kernels` what `info` said of them at an earlier visit to this browser on
    /// this machine. With `table_bits` it is a packer's; see `embervec_embed::Loader::pack`.
    #[wasm_bindgen(constructor)]
    pub fn new(
        folder: &Folder,
        dtype: &str,
        kernels: Option<String>,
        table_bits: Option<u32>,
    ) -> Result<Loader> {
        let dtype = parse_dtype(dtype)?;
        let kernels = kernels.as_deref().and_then(Selection::parse);
        // The engine compiles them well while the weights arrive.
        match kernels {
            Some(selection) => selection.warm_up_only(now),
            None => Selection::warm_up(now),
        }
        let mut loader = embed::Loader::new(&folder.0, dtype, &Device::flex()).map_err(to_js)?;
        if let Some(bits) = table_bits {
            loader.pack(&folder.0, bits);
        }
        Ok(Self { loader, kernels })
    }

    /// Begins a weight file, the one or the `packed` one; `length` are its bytes, where that is known.
    #[wasm_bindgen(js_name = beginWeights)]
    pub fn begin_weights(&mut self, path: &str, length: Option<f64>) -> Result<()> {
        self.loader.begin_weights(path, length.map(|length| length as u64)).map_err(to_js)
    }

    /// The file's next bytes.
    #[wasm_bindgen(js_name = pushWeights)]
    pub fn push_weights(&mut self, bytes: &[u8]) -> Result<()> {
        self.loader.push_weights(bytes).map_err(to_js)
    }

    /// What is new of the file to keep in place of the one under way; empty where that is to be kept
    /// itself.
    #[wasm_bindgen(js_name = takeConverted)]
    pub fn take_converted(&mut self) -> Vec<u8> {
        self.loader.take_converted()
    }

    /// Ends the file.
    #[wasm_bindgen(js_name = endWeights)]
    pub fn end_weights(&mut self) -> Result<()> {
        self.loader.end_weights().map_err(to_js)
    }

    /// The embedder; the loader is used up.
    pub fn finish(self) -> Result<Embedder> {
        self.kernels.unwrap_or_else(|| Selection::measure(now)).install();
        self.loader.finish().map(Embedder).map_err(to_js)
    }
}

/// A loaded model; see `embervec_embed::Embedder`.
#[wasm_bindgen]
pub struct Embedder(embed::Embedder);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    dimension: usize,
    /// `null`: no text is cut.
    max_seq_length: Option<usize>,
    similarity: &'a str,
    special_tokens: usize,
    prompts: BTreeMap<&'a str, &'a str>,
    pooling: Vec<&'a str>,
    normalizes: bool,
    kernels: String,
    is_large: bool,
}

/// The options of one call; what is missing is as the model's folder says.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct EncodeOptions {
    task: Option<Task>,
    prompt_name: Option<String>,
    prompt: Option<String>,
    pooling: Option<Vec<String>>,
    normalize: Option<bool>,
    truncate_dim: Option<usize>,
    tokens: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    Query,
    Document,
}

impl EncodeOptions {
    fn from_js(options: JsValue) -> Result<embed::EncodeOptions> {
        let options: Self = serde_wasm_bindgen::from_value(options)
            .map_err(|error| js_error("invalid_input", &format!("encode options: {error}")))?;
        options.into_embed().map_err(to_js)
    }

    fn into_embed(self) -> embed::Result<embed::EncodeOptions> {
        let task = self.task.map(|task| match task {
            Task::Query => embed::Task::Query,
            Task::Document => embed::Task::Document,
        });
        let pooling = self
            .pooling
            .map(|names| names.iter().map(|name| embed::PoolingMode::parse(name)).collect())
            .transpose()?;
        let output = if self.tokens { embed::Output::Token } else { embed::Output::Sentence };
        Ok(embed::EncodeOptions {
            task,
            prompt: self.prompt,
            prompt_name: self.prompt_name,
            pooling,
            normalize: self.normalize,
            truncate_dim: self.truncate_dim,
            output,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
    tokens: Vec<String>,
    offsets: Vec<[u32; 2]>,
    truncated: bool,
}

#[wasm_bindgen]
impl Embedder {
    /// `{ dimension, maxSeqLength, specialTokens, similarity, prompts, pooling, normalizes, kernels, isLarge }`.
    pub fn info(&self) -> Result<JsValue> {
        to_value(&Info {
            dimension: self.0.dimension(),
            max_seq_length: self.0.max_seq_length(),
            similarity: self.0.similarity(),
            special_tokens: self.0.special_tokens(),
            prompts: self.0.prompts(),
            pooling: self.0.pooling().iter().map(|mode| mode.name()).collect(),
            normalizes: self.0.normalizes(),
            kernels: Selection::current().to_string(),
            is_large: self.0.is_large(),
        })
    }

    /// `{ vectors: Float32Array, dimension, tokenCounts: Uint32Array, truncated: Uint8Array }`.
    pub fn encode(&self, texts: Vec<String>, options: JsValue) -> Result<JsValue> {
        let options = EncodeOptions::from_js(options)?;
        Ok(encoded_to_js(&self.0.encode(&texts, &options).map_err(to_js)?))
    }

    /// Tokenizes texts to encode them batch by batch, in batches for the CPU or for a GPU.
    pub fn begin(&self, texts: Vec<String>, options: JsValue, for_gpu: bool) -> Result<Job> {
        let options = EncodeOptions::from_js(options)?;
        let tokens =
            if for_gpu { embed::GPU_TOKENS_PER_BATCH } else { embed::CPU_TOKENS_PER_BATCH };
        self.0.begin(&texts, &options, tokens).map(Job).map_err(to_js)
    }

    /// Encodes the job's next batch here.
    pub fn compute(&self, job: &mut Job) -> Result<()> {
        self.0.compute(&mut job.0).map_err(to_js)
    }

    /// Takes what another device has made of the job's next batch.
    pub fn accept(&self, job: &mut Job, vectors: Vec<f32>) -> Result<()> {
        self.0.accept(&mut job.0, vectors).map_err(to_js)
    }

    /// What makes up the encoder: `{ config, weights: { path, kind, packed? }[] }`.
    #[wasm_bindgen(js_name = encoderFiles)]
    pub fn encoder_files(&self) -> Result<JsValue> {
        let files = self.0.encoder_files();
        let result = Object::new();
        set(&result, "config", &JsValue::from(&files.config));
        set(&result, "weights", &files_to_js(&files.weights)?);
        Ok(result.into())
    }

    /// What a GPU must have for this model in `dtype`: `{ bufferBytes, unsupported? }`.
    #[wasm_bindgen(js_name = gpuNeeds)]
    pub fn gpu_needs(&self, dtype: &str) -> Result<JsValue> {
        let dtype = parse_dtype(dtype)?;
        let needs = self.0.gpu_needs(dtype);
        let result = Object::new();
        set(&result, "bufferBytes", &JsValue::from(needs.buffer_bytes as f64));
        if let Some(reason) = needs.unsupported {
            set(&result, "unsupported", &JsValue::from(reason));
        }
        Ok(result.into())
    }

    /// The number of tokens of a part of a text, and how many of its UTF-16 code units they are of; see
    /// `embervec_embed::Embedder::count_tokens`.
    #[wasm_bindgen(js_name = countTokens)]
    pub fn count_tokens(&self, part: &str, is_end: bool) -> Result<Vec<u32>> {
        let (tokens, end) = self.0.count_tokens(part, is_end).map_err(to_js)?;
        Ok(vec![tokens as u32, part[..end].encode_utf16().count() as u32])
    }

    /// `{ inputIds, tokenTypeIds, tokens, offsets, truncated }`; offsets in UTF-16 code units.
    pub fn tokenize(&self, text: &str) -> Result<JsValue> {
        let tokens = self.0.tokenize(text).map_err(to_js)?;
        to_value(&Tokens {
            input_ids: tokens.input_ids,
            token_type_ids: tokens.token_type_ids,
            tokens: tokens.tokens,
            offsets: tokens.offsets,
            truncated: tokens.truncated,
        })
    }
}

/// Texts on their way through an encoder; see `embervec_embed::Job`.
#[wasm_bindgen]
pub struct Job(embed::Job);

#[wasm_bindgen]
impl Job {
    /// The next batch: `{ inputIds, tokenTypeIds, ends, pooling, skip, normalize }`, without a pooling where the vectors of all
    /// tokens are wanted; `undefined` where none is left.
    pub fn batch(&self) -> JsValue {
        let Ok(batch) = self.0.batch() else { return JsValue::UNDEFINED };
        let ends: Vec<u32> = batch.ranges().map(|text| text.end as u32).collect();
        let pooling = self.0.pooling().cloned().unwrap_or_default();
        let modes: Array = pooling.modes.iter().map(|mode| JsValue::from(mode.name())).collect();
        let result = Object::new();
        set(&result, "inputIds", &Uint32Array::from(batch.input_ids()));
        set(&result, "tokenTypeIds", &Uint32Array::from(batch.token_type_ids()));
        set(&result, "ends", &Uint32Array::from(&ends[..]));
        set(&result, "pooling", &modes);
        set(&result, "skip", &JsValue::from(pooling.skip));
        set(&result, "normalize", &JsValue::from(pooling.normalize));
        result.into()
    }

    /// Whether no batch is left.
    #[wasm_bindgen(js_name = isDone)]
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }

    /// As `Embedder.encode` gives it, once all batches are done.
    pub fn finish(self) -> JsValue {
        encoded_to_js(&self.0.into_encoded())
    }
}

fn encoded_to_js(encoded: &embed::Encoded) -> JsValue {
    let truncated: Vec<u8> = encoded.truncated.iter().map(|&truncated| truncated.into()).collect();
    let result = Object::new();
    set(&result, "vectors", &Float32Array::from(&encoded.vectors[..]));
    set(&result, "dimension", &JsValue::from(encoded.dimension));
    set(&result, "tokenCounts", &Uint32Array::from(&encoded.token_counts[..]));
    set(&result, "truncated", &Uint8Array::from(&truncated[..]));
    result.into()
}

fn to_value<T: Serialize>(value: &T) -> Result<JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(JsValue::from)
}

fn parse_dtype(name: &str) -> Result<embed::WeightDtype> {
    embed::WeightDtype::parse(name).map_err(|error| to_js(error.into()))
}

fn to_js(error: embed::Error) -> JsValue {
    js_error(error.code(), &error.to_string()).into()
}
