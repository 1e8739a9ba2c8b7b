//! `embervec-embed` for JavaScript. Only types are translated here.
//!
//! Every function throws a JavaScript `Error` with a `code` of the package's `EmbervecError`. A Rust
//! panic is one with `fatal: true`: the instance must not be used any more.

use std::collections::BTreeMap;
use std::panic;

use burn::tensor::Device;
use embervec_embed as embed;
use embervec_kernels::Selection;
use js_sys::{Float32Array, Object, Reflect, Uint8Array, Uint32Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

type Result<T> = std::result::Result<T, JsValue>;

#[wasm_bindgen]
extern "C" {
    /// Milliseconds.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// Makes a panic reach the caller as an error instead of as `unreachable`.
#[wasm_bindgen(start)]
pub fn start() {
    panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        let error = js_error("internal", &format!("embervec panicked: {info}"));
        set(&error, "fatal", &JsValue::TRUE);
        wasm_bindgen::throw_val(error.into());
    }));
}

/// The files of a model folder: `{ path, required, weights }[]`.
///
/// `modules_json` are the bytes of `modules.json`, where the folder has one.
#[wasm_bindgen(js_name = folderFiles)]
pub fn folder_files(modules_json: Option<Vec<u8>>) -> Result<JsValue> {
    #[derive(Serialize)]
    struct File {
        path: String,
        required: bool,
        weights: bool,
    }
    let plan = embed::FolderPlan::new(modules_json.as_deref()).map_err(to_js)?;
    let files: Vec<File> = plan
        .files()
        .into_iter()
        .map(|file| File { path: file.path, required: file.required, weights: file.weights })
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
pub struct Loader(embed::Loader);

#[wasm_bindgen]
impl Loader {
    /// `files` is a `Map` from path to `Uint8Array` with every file that exists and holds no weights;
    /// `dtype` is `"fp32"` or `"q8"`.
    #[wasm_bindgen(constructor)]
    pub fn new(files: &js_sys::Map, dtype: &str) -> Result<Loader> {
        let dtype = match dtype {
            "q8" => embed::WeightDtype::Q8,
            _ => embed::WeightDtype::Fp32,
        };
        // The engine compiles them well while the weights arrive.
        Selection::warm_up();
        let mut small = BTreeMap::new();
        files.for_each(&mut |bytes, path| {
            if let (Some(path), Some(bytes)) = (path.as_string(), bytes.dyn_ref::<Uint8Array>()) {
                small.insert(path, bytes.to_vec());
            }
        });
        let modules_json = small.get("modules.json").map(Vec::as_slice);
        let plan = embed::FolderPlan::new(modules_json).map_err(to_js)?;
        embed::Loader::new(&plan, small, dtype, &Device::flex()).map(Self).map_err(to_js)
    }

    /// Begins a weight file of `size` bytes.
    #[wasm_bindgen(js_name = beginWeights)]
    pub fn begin_weights(&mut self, path: &str, size: f64) -> Result<()> {
        self.0.begin_weights(path, size as u64).map_err(to_js)
    }

    /// The file's next bytes.
    #[wasm_bindgen(js_name = pushWeights)]
    pub fn push_weights(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.push_weights(bytes).map_err(to_js)
    }

    /// What is new of the file to keep in place of the one under way; empty where that is to be kept
    /// itself.
    #[wasm_bindgen(js_name = takeConverted)]
    pub fn take_converted(&mut self) -> Vec<u8> {
        self.0.take_converted()
    }

    /// Ends the file.
    #[wasm_bindgen(js_name = endWeights)]
    pub fn end_weights(&mut self) -> Result<()> {
        self.0.end_weights().map_err(to_js)
    }

    /// The embedder; the loader is used up.
    pub fn finish(self) -> Result<Embedder> {
        Selection::measure(now).install();
        self.0.finish().map(Embedder).map_err(to_js)
    }
}

/// A loaded model; see `embervec_embed::Embedder`.
#[wasm_bindgen]
pub struct Embedder(embed::Embedder);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    dimension: usize,
    max_seq_length: usize,
    similarity: &'a str,
    prompts: &'a BTreeMap<String, String>,
    kernels: String,
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
    fn into_embed(self) -> embed::Result<embed::EncodeOptions> {
        let prompt = match (self.prompt, self.prompt_name, self.task) {
            (Some(text), ..) => embed::Prompt::Text(text),
            (None, Some(name), _) => embed::Prompt::Name(name),
            (None, None, Some(Task::Query)) => embed::Prompt::Query,
            (None, None, Some(Task::Document)) => embed::Prompt::Document,
            (None, None, None) => embed::Prompt::Default,
        };
        let pooling = self
            .pooling
            .map(|names| names.iter().map(|name| embed::PoolingMode::parse(name)).collect())
            .transpose()?;
        let output = if self.tokens { embed::Output::Token } else { embed::Output::Sentence };
        Ok(embed::EncodeOptions {
            prompt,
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
    /// `{ dimension, maxSeqLength, similarity, prompts, kernels }`.
    pub fn info(&self) -> Result<JsValue> {
        to_value(&Info {
            dimension: self.0.dimension(),
            max_seq_length: self.0.max_seq_length(),
            similarity: self.0.similarity(),
            prompts: self.0.prompts(),
            kernels: Selection::current().to_string(),
        })
    }

    /// `{ vectors: Float32Array, dimension, tokenCounts: Uint32Array, truncated: Uint8Array }`.
    pub fn encode(&self, texts: Vec<String>, options: JsValue) -> Result<JsValue> {
        let options: EncodeOptions = serde_wasm_bindgen::from_value(options)
            .map_err(|error| js_error("invalid_input", &format!("encode options: {error}")))?;
        let options = options.into_embed().map_err(to_js)?;
        let encoded = self.0.encode(&texts, &options).map_err(to_js)?;
        let truncated: Vec<u8> = encoded.truncated.into_iter().map(u8::from).collect();
        let result = Object::new();
        set(&result, "vectors", &Float32Array::from(&encoded.vectors[..]));
        set(&result, "dimension", &JsValue::from(encoded.dimension));
        set(&result, "tokenCounts", &Uint32Array::from(&encoded.token_counts[..]));
        set(&result, "truncated", &Uint8Array::from(&truncated[..]));
        Ok(result.into())
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

fn to_value<T: Serialize>(value: &T) -> Result<JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(JsValue::from)
}

fn to_js(error: embed::Error) -> JsValue {
    js_error(error.code(), &error.to_string()).into()
}

fn js_error(code: &str, message: &str) -> js_sys::Error {
    let error = js_sys::Error::new(message);
    set(&error, "code", &JsValue::from(code));
    error
}

/// Setting a property of a fresh object cannot fail.
fn set(object: &JsValue, name: &str, value: &JsValue) {
    let _ = Reflect::set(object, &JsValue::from(name), value);
}
