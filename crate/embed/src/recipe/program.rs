//! The modules as steps on values.
//!
//! In Python every module reads features by their name, and writes some. Here that is followed once, when a folder is
//! read: what is left are steps, each of which takes one value and makes another, and which value is asked for in the end.

use std::collections::BTreeMap;

use embervec_encoder::PoolingMode;
use embervec_weights::KeyTable;
use embervec_weights::limits::MAX_DIMENSION;

use super::layers::{DenseSpec, LayerNormSpec, SENTENCE_EMBEDDING, check_dropout, read_normalize};
use super::modules::{Module, ModuleKind};
use super::pooling::Pooling;
use super::transformer::{EncoderOutput, Transformer};
use crate::folder::{Folder, MODULES_JSON, WEIGHTS, join};
use crate::{Error, Result};

const TOKEN_EMBEDDINGS: &str = "token_embeddings";

/// A value: vectors of `width`, one for each token or one for each text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub of_tokens: bool,
    /// 0 until [`Program::set_width`].
    pub width: usize,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Pool(Pooling),
    /// The first token's vector through the encoder's own pooler.
    Pooler,
    /// The index of a layer.
    Layer(usize),
    Normalize,
}

/// Makes the value behind it, whose index is one more than its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub op: Op,
    /// The index of the value that it takes.
    pub input: usize,
}

/// A layer with weights of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerSpec {
    /// Its configuration, for messages.
    pub config: String,
    /// Its weight file.
    pub weights: String,
    pub kind: LayerKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LayerKind {
    Dense(DenseSpec),
    LayerNorm(LayerNormSpec),
}

impl LayerSpec {
    pub fn key_table(&self) -> KeyTable {
        match &self.kind {
            LayerKind::Dense(dense) => dense.key_table(),
            LayerKind::LayerNorm(norm) => norm.key_table(),
        }
    }

    /// The width of what it takes, with the name that its configuration has for it.
    fn input(&self) -> (&'static str, usize) {
        match &self.kind {
            LayerKind::Dense(dense) => ("in_features", dense.in_features),
            LayerKind::LayerNorm(norm) => ("dimension", norm.dimension),
        }
    }

    fn output(&self) -> usize {
        match &self.kind {
            LayerKind::Dense(dense) => dense.out_features,
            LayerKind::LayerNorm(norm) => norm.dimension,
        }
    }
}

/// What follows the encoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    /// The first value is what the model gives: an encoder its `last_hidden_state`, a static one a text's vector.
    pub values: Vec<Value>,
    pub steps: Vec<Step>,
    pub layers: Vec<LayerSpec>,
    /// The value that is a text's vector.
    pub sentence: usize,
    /// The value that is a vector for each token, where there is one.
    pub tokens: Option<usize>,
}

impl Program {
    /// A transformer and a pooling.
    pub fn plain(hidden_size: usize, mode: PoolingMode) -> Self {
        let [tokens, sentence] =
            [true, false].map(|of_tokens| Value { of_tokens, width: hidden_size });
        Self {
            values: vec![tokens, sentence],
            steps: vec![Step { op: Op::Pool(Pooling::of(mode)), input: 0 }],
            layers: Vec::new(),
            sentence: 1,
            tokens: Some(0),
        }
    }

    /// Follows the modules behind the transformer.
    pub fn read(folder: &Folder, modules: &[Module], transformer: &Transformer) -> Result<Self> {
        let mut run = Run::from(true);
        let output = match transformer.output {
            EncoderOutput::LastHiddenState => 0,
            EncoderOutput::PoolerOutput => run.step(Op::Pooler, 0, false),
        };
        run.features.insert(transformer.output_name.clone(), output);
        let mut program = run.follow(folder, modules)?;
        program.set_width(transformer.spec.hidden_size)?;
        Ok(program)
    }

    /// Follows the modules behind a static model, whose width is known only with its weights.
    pub fn read_static(folder: &Folder, modules: &[Module]) -> Result<Self> {
        let mut run = Run::from(false);
        run.features.insert(SENTENCE_EMBEDDING.into(), 0);
        run.follow(folder, modules)
    }

    /// Tells all values their width, of which the first one's is given.
    pub fn set_width(&mut self, width: usize) -> Result<()> {
        self.values[0].width = width;
        for (step, Step { op, input }) in self.steps.iter().enumerate() {
            let width = self.values[*input].width;
            self.values[step + 1].width = match op {
                Op::Pool(pooling) => pooled_width(width, pooling.modes.len())?,
                Op::Pooler | Op::Normalize => width,
                &Op::Layer(layer) => {
                    let layer = &self.layers[layer];
                    let (key, expected) = layer.input();
                    if expected != width {
                        let problem = format!(
                            "{key} is {expected}, but the previous module produces {width}"
                        );
                        return Err(Error::invalid(&layer.config, problem));
                    }
                    layer.output()
                }
            };
        }
        Ok(())
    }

    /// The steps that lead to a value, in their order.
    pub fn steps_to(&self, value: usize) -> Vec<usize> {
        let mut steps = Vec::new();
        let mut value = value;
        while let Some(step) = value.checked_sub(1) {
            steps.push(step);
            value = self.steps[step].input;
        }
        steps.reverse();
        steps
    }
}

struct Run {
    program: Program,
    /// The value of each feature.
    features: BTreeMap<String, usize>,
}

impl Run {
    /// From what the model gives.
    fn from(of_tokens: bool) -> Self {
        let program = Program {
            values: vec![Value { of_tokens, width: 0 }],
            steps: Vec::new(),
            layers: Vec::new(),
            sentence: 0,
            tokens: None,
        };
        Self { program, features: BTreeMap::new() }
    }

    fn follow(mut self, folder: &Folder, modules: &[Module]) -> Result<Program> {
        modules.iter().try_for_each(|module| self.module(folder, module))?;
        self.finish()
    }

    fn step(&mut self, op: Op, input: usize, of_tokens: bool) -> usize {
        self.program.steps.push(Step { op, input });
        self.program.values.push(Value { of_tokens, width: 0 });
        self.program.values.len() - 1
    }

    /// A feature's value, which must be there, and whether there is one for each token.
    fn feature(&self, module: &Module, name: &str) -> Result<(usize, bool)> {
        let index = self.features.get(name).copied().ok_or_else(|| {
            let Module { kind, name: module, .. } = module;
            Error::invalid(
                MODULES_JSON,
                format!(
                    "the {kind:?} module \"{module}\" needs {name}, which no module before it produces"
                ),
            )
        })?;
        Ok((index, self.program.values[index].of_tokens))
    }

    fn module(&mut self, folder: &Folder, module: &Module) -> Result<()> {
        let file = join(&module.path, "config.json");
        let entries = folder.files(&module.path).object("config.json")?;
        let needs_config =
            matches!(module.kind, ModuleKind::Pooling | ModuleKind::Dense | ModuleKind::LayerNorm);
        let entries = match entries {
            None if needs_config => return Err(Error::missing(&file)),
            entries => entries.unwrap_or_default(),
        };
        match module.kind {
            ModuleKind::Transformer | ModuleKind::StaticEmbedding => {}
            ModuleKind::Pooling => {
                let pooling = Pooling::read(&file, &entries)?;
                let (input, of_tokens) = self.feature(module, TOKEN_EMBEDDINGS)?;
                if !of_tokens {
                    return Err(unsupported(
                        "a Pooling module for vectors that are not token vectors",
                    ));
                }
                let output = self.step(Op::Pool(pooling), input, false);
                self.features.insert(SENTENCE_EMBEDDING.into(), output);
            }
            ModuleKind::Dense => {
                let dense = DenseSpec::read(&file, &entries)?;
                let (input, of_tokens) = self.feature(module, &dense.input)?;
                let output = dense.output.clone();
                let layer = self.layer(module, file, LayerKind::Dense(dense))?;
                let index = self.step(Op::Layer(layer), input, of_tokens);
                self.features.insert(output, index);
            }
            ModuleKind::LayerNorm => {
                let norm = LayerNormSpec::read(&file, &entries)?;
                let (input, of_tokens) = self.feature(module, SENTENCE_EMBEDDING)?;
                let layer = self.layer(module, file, LayerKind::LayerNorm(norm))?;
                let index = self.step(Op::Layer(layer), input, of_tokens);
                self.features.insert(SENTENCE_EMBEDDING.into(), index);
            }
            ModuleKind::Normalize => {
                let (input, output) = read_normalize(&file, &entries)?;
                // Of a feature that is not there nothing is made.
                if let Some(&input) = self.features.get(&input) {
                    let of_tokens = self.program.values[input].of_tokens;
                    let index = self.step(Op::Normalize, input, of_tokens);
                    self.features.insert(output, index);
                }
            }
            ModuleKind::Dropout => {
                check_dropout(&file, &entries)?;
                self.feature(module, SENTENCE_EMBEDDING)?;
            }
        }
        Ok(())
    }

    /// The index of a layer; two modules of one folder have the same.
    fn layer(&mut self, module: &Module, config: String, kind: LayerKind) -> Result<usize> {
        let layer = LayerSpec { config, weights: join(&module.path, WEIGHTS), kind };
        let layers = &mut self.program.layers;
        match layers.iter().position(|known| known.weights == layer.weights) {
            Some(index) if layers[index] == layer => Ok(index),
            Some(_) => Err(Error::invalid(
                &layer.weights,
                "is the weight file of two modules of different kinds",
            )),
            None => {
                layers.push(layer);
                Ok(layers.len() - 1)
            }
        }
    }

    fn finish(mut self) -> Result<Program> {
        let problem = match self.features.get(SENTENCE_EMBEDDING) {
            None => "no module produces a sentence_embedding; add a Pooling module",
            Some(&index) if self.program.values[index].of_tokens => {
                "sentence_embedding has a vector for each token; add a Pooling module"
            }
            Some(&index) => {
                self.program.sentence = index;
                let tokens = self.features.get(TOKEN_EMBEDDINGS).copied();
                self.program.tokens = tokens.filter(|&index| self.program.values[index].of_tokens);
                return Ok(self.program);
            }
        };
        Err(Error::invalid(MODULES_JSON, problem))
    }
}

/// The width of several poolings' vectors side by side.
fn pooled_width(width: usize, modes: usize) -> Result<usize> {
    let pooled = width.checked_mul(modes).filter(|width| *width <= MAX_DIMENSION);
    pooled.ok_or_else(|| {
        let what = format!("a vector of {modes} times {width} values");
        Error::unsupported(MODULES_JSON, what, &format!("at most {MAX_DIMENSION}"))
    })
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(MODULES_JSON, what, "Pooling of token_embeddings")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::modules::Layout;

    /// The program of modules given as `Class/json of its config` or `Class@folder/…`, behind a tiny transformer.
    fn program(modules: &[&str]) -> Result<Program> {
        let mut folder = Folder::default();
        let mut entries = Vec::new();
        for (i, module) in ["Transformer/"].iter().chain(modules).enumerate() {
            let (class, config) = module.split_once('/').expect("Class/json");
            let (class, path) = match class.split_once('@') {
                Some((class, path)) => (class, path.to_owned()),
                None if i == 0 => (class, String::new()),
                None => (class, format!("{i}_{class}")),
            };
            entries.push(format!(
                r#"{{"name": "{i}", "path": "{path}", "type": "sentence_transformers.models.{class}"}}"#
            ));
            if i > 0 && !config.is_empty() {
                folder.put(&join(&path, "config.json"), config.into())?;
            }
        }
        folder.put(MODULES_JSON, format!("[{}]", entries.join(",")).into())?;
        folder.put(
            "config.json",
            br#"{"model_type": "bert", "hidden_size": 4, "num_attention_heads": 2}"#.to_vec(),
        )?;
        folder.put("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n".to_vec())?;
        let Layout::Modules(modules) = Layout::read(&folder)? else { panic!("plain") };
        let transformer = Transformer::read(&folder, "")?;
        Program::read(&folder, &modules[1..], &transformer)
    }

    const MEAN: &str = r#"Pooling/{"embedding_dimension": 4, "pooling_mode": "mean"}"#;

    #[test]
    fn features_become_values() {
        let plain = program(&[MEAN]).expect("valid");
        assert_eq!(plain, Program::plain(4, PoolingMode::Mean));
        let dense = r#"Dense/{"in_features": 4, "out_features": 3, "module_input_name": "token_embeddings"}"#;
        let tokens_first = program(&[dense, MEAN, "Normalize/", "Dropout/"]).expect("valid");
        let inputs: Vec<_> = tokens_first.steps.iter().map(|step| step.input).collect();
        assert_eq!(inputs, [0, 1, 2]);
        assert_eq!((tokens_first.sentence, tokens_first.tokens), (3, Some(1)));
        assert_eq!(tokens_first.values[3], Value { of_tokens: false, width: 3 });
        assert_eq!(tokens_first.steps_to(3), [0, 1, 2]);
    }

    #[test]
    fn steps_that_lead_nowhere_are_left_out() {
        let aside = r#"Normalize/{"module_output_name": "aside"}"#;
        let two = r#"Pooling/{"embedding_dimension": 4, "pooling_mode": ["cls", "max"]}"#;
        let program = program(&[MEAN, aside, two, r#"LayerNorm/{"dimension": 8}"#]).expect("valid");
        assert_eq!(program.steps_to(program.sentence), [2, 3]);
        assert_eq!(program.values[program.sentence].width, 8);
    }

    #[test]
    fn two_modules_of_one_folder_have_one_layer() {
        // So that it is both modules' config.json.
        let config = r#"{"in_features": 4, "out_features": 4, "dimension": 4}"#;
        let dense = |path: &str| format!("Dense@{path}/{config}");
        let both = |one: &str, other: &str| program(&[MEAN, one, other]);
        let program = both(&dense("a"), &dense("a")).expect("valid");
        assert_eq!((program.layers.len(), program.steps.len()), (1, 3));
        let program = both(&dense("a"), &dense("b")).expect("valid");
        assert_eq!(program.layers.len(), 2);
        // Of the same file one of them would take what is not its own.
        let norm = r#"LayerNorm@a/{"dimension": 4}"#;
        assert!(both(norm, r#"Dense@a/{"in_features": 4, "out_features": 4}"#).is_err());
    }

    #[test]
    fn modules_that_do_not_fit_are_refused() {
        let dense = r#"Dense/{"in_features": 5, "out_features": 3}"#;
        let rename = r#"Dense/{"in_features": 4, "out_features": 3, "module_output_name": "token_embeddings"}"#;
        for modules in [
            &[][..],
            &["Normalize/"],
            &["Dropout/", MEAN],
            &[dense, MEAN],
            &[MEAN, dense],
            &[MEAN, rename, MEAN],
            &[MEAN, r#"LayerNorm/{"dimension": 3}"#],
        ] {
            assert_eq!(program(modules).expect_err("refused").code(), "unsupported_model");
        }
        for module in ["Pooling/", "Dense/", "LayerNorm/"] {
            let error = program(&[MEAN, module]).expect_err("no config.json");
            assert_eq!(error.code(), "model_not_found", "{error}");
        }
    }
}
