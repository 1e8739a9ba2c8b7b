//! The GPU's artefact: token ids in, vectors out.

use burn::tensor::Device;
use burn::tensor::wgpu::wgpu;
use embervec_encoder as encoder;
use embervec_encoder::ops::cube;
use embervec_encoder::{EncoderSpec, ModelLoader, PackedBatch, PoolingMode, SentencePooling};
use embervec_weights::{TensorReader, WeightDtype};
use js_sys::Float32Array;
use wasm_bindgen::prelude::*;

use crate::{Result, js_error};

/// A GPU, and the model on its way there.
#[wasm_bindgen]
pub struct Loader {
    handle: wgpu::Device,
    model: ModelLoader,
    reader: Option<(String, TensorReader)>,
}

/// Opens the GPU for the encoder of this configuration, whose weights, in 8 bits or not, are in so many files.
/// `packed_dot` says whether the browser's WGSL has `packed_4x8_integer_dot_product`.
#[wasm_bindgen(js_name = openGpu)]
pub async fn open_gpu(
    config: String,
    files: usize,
    dtype: String,
    packed_dot: bool,
) -> Result<Loader> {
    let spec = EncoderSpec::from_line(&config).map_err(to_js)?;
    let dtype = WeightDtype::parse(&dtype).map_err(|error| to_js(error.into()))?;
    cube::use_packed_dot(packed_dot);
    let opened = Device::wgpu_options().init_with_setup_async().await;
    let (device, setup) =
        opened.map_err(|error| js_error("unsupported_device", &error.to_string()))?;
    let model = ModelLoader::new(spec, files, dtype, &device);
    Ok(Loader { handle: setup.device, model, reader: None })
}

#[wasm_bindgen]
impl Loader {
    /// Begins a weight file.
    #[wasm_bindgen(js_name = beginWeights)]
    pub fn begin_weights(&mut self, path: String, length: f64) {
        let reader = self.model.reader(&path).of_length(Some(length as u64));
        self.reader = Some((path, reader));
    }

    /// The file's next bytes.
    #[wasm_bindgen(js_name = pushWeights)]
    pub fn push_weights(&mut self, bytes: &[u8]) -> Result<()> {
        let (_, reader) = self.reader.as_mut().ok_or_else(no_file)?;
        reader.push(bytes).map_err(|error| to_js(error.into()))
    }

    /// Ends the file.
    #[wasm_bindgen(js_name = endWeights)]
    pub fn end_weights(&mut self) -> Result<()> {
        let (path, reader) = self.reader.take().ok_or_else(no_file)?;
        let weights = reader.finish().map_err(|error| to_js(error.into()))?;
        self.model.take(&path, weights).map_err(to_js)
    }

    /// The encoder; the loader is used up.
    pub fn finish(self) -> Result<Encoder> {
        Ok(Encoder { model: self.model.finish().map_err(to_js)?, handle: self.handle })
    }
}

fn no_file() -> JsValue {
    js_error("internal", "no weight file has begun").into()
}

/// A model on a GPU.
#[wasm_bindgen]
pub struct Encoder {
    model: encoder::Encoder,
    handle: wgpu::Device,
}

#[wasm_bindgen]
impl Encoder {
    /// For each text its vectors of all poolings, one after the other, scaled to length 1 where `normalize`
    /// says so; without a pooling the `last_hidden_state` of every token.
    pub async fn encode(
        &self,
        input_ids: Vec<u32>,
        token_type_ids: Vec<u32>,
        ends: Vec<u32>,
        pooling: Vec<String>,
        skip: usize,
        normalize: bool,
    ) -> Result<Float32Array> {
        let mut batch = PackedBatch::new();
        let mut start = 0;
        for end in ends {
            let range = start..end as usize;
            let out_of_range = || js_error("internal", "the batch's ends do not fit its tokens");
            let ids = input_ids.get(range.clone()).ok_or_else(out_of_range)?;
            let types = token_type_ids.get(range).ok_or_else(out_of_range)?;
            batch.push(ids, types).map_err(to_js)?;
            start = end as usize;
        }
        let modes = pooling.iter().map(|name| PoolingMode::parse(name));
        let modes = modes.collect::<encoder::Result<Vec<_>>>().map_err(to_js)?;
        let vectors = match modes.is_empty() {
            true => self.model.forward(&batch),
            false => self.model.forward_pooled(&batch, &SentencePooling { modes, skip, normalize }),
        };
        let vectors = cube::read(vectors.map_err(to_js)?).await.map_err(to_js)?;
        Ok(Float32Array::from(&vectors[..]))
    }

    /// Gives the GPU's memory back.
    pub fn destroy(self) {
        self.handle.destroy();
    }
}

fn to_js(error: encoder::Error) -> JsValue {
    let code = match error {
        encoder::Error::Device(_) => "device_lost",
        _ => "internal",
    };
    js_error(code, &error.to_string()).into()
}
