//! From a folder's files to an [`Embedder`], with the weights coming in pieces.

use burn::tensor::Device;
use embervec_encoder::{ModelLoader, StaticLoader};
use embervec_weights::{TensorReader, WeightDtype};

use crate::embedder::{Embedder, EncoderFiles};
use crate::folder::{Folder, FolderFile, MODULES_JSON};
use crate::layer::Layer;
use crate::model::PendingModel;
use crate::recipe::{First, Recipe};
use crate::{Error, Result};

/// Takes the files of a folder and becomes an [`Embedder`].
///
/// ```text
/// Loader::new(folder)
///   for each weight file, in any order: begin_weights, push_weights…, end_weights
/// finish
/// ```
#[derive(Debug)]
pub struct Loader {
    device: Device,
    recipe: Recipe,
    model: PendingModel,
    model_files: Vec<FolderFile>,
    /// In the order of the recipe's.
    layers: Vec<Option<Layer>>,
    reader: Option<(String, Part, TensorReader)>,
}

/// What a weight file is of.
#[derive(Clone, Copy, Debug)]
enum Part {
    Model,
    /// The index of a layer.
    Layer(usize),
}

impl Loader {
    /// Reads everything except the weights, and refuses whatever can be refused without them.
    ///
    /// # Errors
    ///
    /// For missing, unreadable or contradictory files, and for models that are not supported.
    pub fn new(folder: &Folder, dtype: WeightDtype, device: &Device) -> Result<Self> {
        let recipe = Recipe::read(folder)?;
        let layer_files: Vec<_> =
            recipe.program.layers.iter().map(|layer| &layer.weights).collect();
        let (layers, model_files): (Vec<_>, Vec<_>) =
            folder.weights()?.into_iter().partition(|file| layer_files.contains(&&file.path));
        if let Some(file) = layers.iter().find(|file| file.packed.is_some()) {
            return Err(Error::invalid(
                &file.path,
                "is the weight file of the first module and of another one",
            ));
        }
        let model = match &recipe.first {
            First::Encoder { spec, .. } => {
                let loader = ModelLoader::new(spec.clone(), model_files.len(), dtype, device);
                PendingModel::Encoder(Box::new(loader))
            }
            First::Static => PendingModel::Static(StaticLoader::new(dtype)),
        };
        Ok(Self {
            device: device.clone(),
            layers: recipe.program.layers.iter().map(|_| None).collect(),
            model,
            model_files,
            recipe,
            reader: None,
        })
    }

    /// Turns it into a packer, which only produces what [`Loader::take_converted`] returns: the transformer's weights for
    /// a server, with embedding tables of `table_bits`. The weights are given as one file of any name, however many files
    /// the folder has.
    pub fn pack(&mut self, folder: &Folder, table_bits: u32) {
        // sentence-transformers uses the pooler only where a folder says so.
        let is_plain = folder.get(MODULES_JSON).is_none();
        self.model.pack(table_bits, is_plain || self.recipe.uses_pooler());
        self.model_files.clear();
    }

    /// Begins the weight file `path`. Where a file may also exist in 8 bits, either can be given. `file_len` is its length,
    /// if known.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a file that the model does not need, or while another file is in progress.
    pub fn begin_weights(&mut self, path: &str, file_len: Option<u64>) -> Result<()> {
        if self.reader.is_some() {
            return Err(Error::InvalidInput(format!(
                "{path} begins before the previous file has ended"
            )));
        }
        let layers = &self.recipe.program.layers;
        let (part, reader) = match layers.iter().position(|layer| layer.weights == path) {
            Some(layer) => {
                // A few rows, once for a text: there is no time to win, and little room.
                let table = layers[layer].key_table();
                (Part::Layer(layer), TensorReader::new(path, table, WeightDtype::Fp32))
            }
            None => {
                let is_it =
                    |file: &FolderFile| file.path == path || file.packed.as_deref() == Some(path);
                if !self.is_packer() && !self.model_files.iter().any(is_it) {
                    let problem = format!("{path} is not a weight file of this model");
                    return Err(Error::InvalidInput(problem));
                }
                (Part::Model, self.model.reader(path))
            }
        };
        self.reader = Some((path.into(), part, reader.of_length(file_len)));
        Ok(())
    }

    /// Adds the next bytes of the weight file.
    ///
    /// # Errors
    ///
    /// As soon as the file proves to be damaged or to belong to another model.
    pub fn push_weights(&mut self, bytes: &[u8]) -> Result<()> {
        let (.., reader) = self.reader.as_mut().ok_or_else(no_file)?;
        Ok(reader.push(bytes)?)
    }

    /// The next bytes of a converted file, which can be stored in place of the current weight file; see
    /// [`TensorReader::take_converted`].
    pub fn take_converted(&mut self) -> Vec<u8> {
        self.reader.as_mut().map(|(.., reader)| reader.take_converted()).unwrap_or_default()
    }

    /// Ends the weight file. The last file of a part of the model builds that part.
    ///
    /// # Errors
    ///
    /// When bytes or tensors are missing.
    pub fn end_weights(&mut self) -> Result<()> {
        let (path, part, reader) = self.reader.take().ok_or_else(no_file)?;
        let weights = reader.finish()?;
        match part {
            Part::Model if self.is_packer() => Ok(()),
            Part::Model => self.model.take(&path, weights),
            Part::Layer(index) => {
                let spec = &self.recipe.program.layers[index];
                self.layers[index] = Some(Layer::load(spec, weights, &self.device)?);
                Ok(())
            }
        }
    }

    /// No model is without files.
    fn is_packer(&self) -> bool {
        self.model_files.is_empty()
    }

    /// The embedder, once every weight file has ended.
    ///
    /// # Errors
    ///
    /// [`Error::MissingFile`] names a weight file that was not given.
    pub fn finish(self) -> Result<Embedder> {
        let Self { mut recipe, layers, device, model, model_files, .. } = self;
        let specs = &recipe.program.layers;
        let layers = layers
            .into_iter()
            .zip(specs)
            .map(|(layer, spec)| layer.ok_or_else(|| Error::missing(&spec.weights)));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let model = model.finish()?;
        if recipe.uses_pooler() && model.encoder().is_none_or(|encoder| encoder.pooler().is_none())
        {
            let file = model_files.first().map_or("", |file| &*file.path);
            return Err(Error::invalid(file, "has no pooler, but the folder uses pooler_output"));
        }
        recipe.program.set_width(model.width())?;
        let config = model.encoder().map(|encoder| encoder.spec().to_line()).unwrap_or_default();
        let encoder_files = EncoderFiles { config, weights: model_files };
        Ok(Embedder::new(model, recipe, layers, device, encoder_files))
    }
}

fn no_file() -> Error {
    Error::InvalidInput("no weight file has begun".into())
}
