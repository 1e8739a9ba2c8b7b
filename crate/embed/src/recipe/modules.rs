//! `modules.json`: which modules a model is made of.
//!
//! As [`BaseModel._load_modules`] reads it. What stands for a module is a Python class's path.
//!
//! [`BaseModel._load_modules`]: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/base/model.py#L1166

use embervec_json::{Json, Object};
use embervec_weights::limits::MAX_MODULES;

use crate::folder::{CONFIG_SENTENCE_TRANSFORMERS, Folder, MODULES_JSON};
use crate::{Error, Result};

/// The modules of a folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Layout {
    /// No sentence-transformers folder, or one of another kind of model: a transformer and mean pooling.
    Plain,
    /// In their order, the Transformer or StaticEmbedding first.
    Modules(Vec<Module>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Module {
    /// Unique.
    pub name: String,
    pub kind: ModuleKind,
    /// Its folder within the model's.
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ModuleKind {
    Transformer,
    StaticEmbedding,
    Pooling,
    Dense,
    Normalize,
    LayerNorm,
    Dropout,
}

impl ModuleKind {
    pub fn has_weights(self) -> bool {
        matches!(self, Self::Dense | Self::LayerNorm)
    }
}

const SUPPORTED: &str =
    "Transformer or StaticEmbedding first, then Pooling, Dense, LayerNorm, Normalize, Dropout";

/// Every kind with its class's name and the module that has had it since version 5.4, and 6 for Dense and Normalize.
const KINDS: [(ModuleKind, &str, &str); 7] = [
    (ModuleKind::Transformer, "Transformer", "base.modules.transformer"),
    (
        ModuleKind::StaticEmbedding,
        "StaticEmbedding",
        "sentence_transformer.modules.static_embedding",
    ),
    (ModuleKind::Pooling, "Pooling", "sentence_transformer.modules.pooling"),
    (ModuleKind::Dense, "Dense", "base.modules.dense"),
    (ModuleKind::Normalize, "Normalize", "base.modules.normalize"),
    (ModuleKind::LayerNorm, "LayerNorm", "sentence_transformer.modules.layer_norm"),
    (ModuleKind::Dropout, "Dropout", "sentence_transformer.modules.dropout"),
];

/// Modules of the Python package that hold several of these classes under their own names, and which.
const PACKAGES: [(&str, &[ModuleKind]); 6] = [
    ("models", &ALL),
    ("sentence_transformer.modules", &ALL),
    ("base.modules", &[ModuleKind::Transformer, ModuleKind::Dense, ModuleKind::Normalize]),
    ("sparse_encoder.models", &[ModuleKind::Transformer, ModuleKind::Dense]),
    ("sparse_encoder.modules", &[ModuleKind::Transformer, ModuleKind::Dense]),
    ("cross_encoder.modules", &[ModuleKind::Transformer, ModuleKind::Dense]),
];

/// Modules of the Python package that import these classes for their own use, where `import_from_string` finds them, too.
const IMPORTERS: [(ModuleKind, &[&str]); 5] = [
    (
        ModuleKind::StaticEmbedding,
        &[
            "losses.DenoisingAutoEncoderLoss",
            "losses.GISTEmbedLoss",
            "losses.denoising_auto_encoder",
            "losses.gist_embed",
            "model_card",
            "models.static_embedding",
            "sentence_transformer.losses.denoising_auto_encoder",
            "sentence_transformer.losses.gist_embed",
            "sentence_transformer.model_card",
        ],
    ),
    (
        ModuleKind::Transformer,
        &[
            "SentenceTransformer",
            "base.merging",
            "base.model",
            "cross_encoder.CrossEncoder",
            "cross_encoder.model",
            "losses.AdaptiveLayerLoss",
            "losses.adaptive_layer",
            "models.CLIPModel",
            "models.clip_model",
            "multi_vector_encoder.interpretability",
            "multi_vector_encoder.model",
            "multi_vector_encoder.model_card",
            "sentence_transformer.losses.adaptive_layer",
            "sentence_transformer.model",
            "sentence_transformer.modules.clip_model",
            "sparse_encoder.SparseEncoder",
            "sparse_encoder.model",
            "sparse_encoder.models.MLMTransformer",
            "sparse_encoder.models.mlm_transformer",
            "sparse_encoder.modules.mlm_transformer",
        ],
    ),
    (
        ModuleKind::Pooling,
        &[
            "SentenceTransformer",
            "models.pooling",
            "sentence_transformer.model",
            "sparse_encoder.SparseEncoder",
            "sparse_encoder.model",
        ],
    ),
    (
        ModuleKind::Dense,
        &["cross_encoder.CrossEncoder", "cross_encoder.model", "multi_vector_encoder.model"],
    ),
    (ModuleKind::Normalize, &["multi_vector_encoder.model"]),
];

const ALL: [ModuleKind; 7] = [
    ModuleKind::Transformer,
    ModuleKind::StaticEmbedding,
    ModuleKind::Pooling,
    ModuleKind::Dense,
    ModuleKind::Normalize,
    ModuleKind::LayerNorm,
    ModuleKind::Dropout,
];

impl ModuleKind {
    /// The kind that a class's path names, as `import_from_string` finds it.
    fn of(class: &str) -> Option<Self> {
        let (module, name) = class.strip_prefix("sentence_transformers.")?.rsplit_once('.')?;
        let &(kind, _, home) = KINDS.iter().find(|(_, known, _)| *known == name)?;
        let is_in_package =
            PACKAGES.iter().any(|(package, kinds)| *package == module && kinds.contains(&kind));
        // Until version 5.4 a module had the name of its class.
        let is_old = module.strip_prefix("models.") == Some(name);
        // Until version 6.
        let was_home =
            kind == Self::Normalize && module == "sentence_transformer.modules.normalize";
        let is_imported = IMPORTERS
            .iter()
            .any(|(imported, modules)| *imported == kind && modules.contains(&module));
        (is_in_package || is_imported || is_old || was_home || module == home).then_some(kind)
    }
}

impl Layout {
    /// Reads `modules.json`, as far as `config_sentence_transformers.json` lets it count.
    pub fn read(folder: &Folder) -> Result<Self> {
        let files = folder.files("");
        let Some(json) = files.json(MODULES_JSON)? else { return Ok(Self::Plain) };
        let config = files.object(CONFIG_SENTENCE_TRANSFORMERS)?.unwrap_or_default();
        // `CrossEncoder`, `SparseEncoder`, …: their own modules are left out.
        if config.get("model_type").is_some_and(|kind| kind.as_str() != Some("SentenceTransformer"))
        {
            return Ok(Self::Plain);
        }
        let entries = match &json {
            Json::List(entries) if !entries.is_empty() => entries,
            _ => return Err(invalid(format!("is {json}, but must be a list of modules"))),
        };
        if entries.len() > MAX_MODULES {
            let what = format!("a list of {} modules", entries.len());
            return Err(Error::unsupported(MODULES_JSON, what, &format!("at most {MAX_MODULES}")));
        }
        let mut modules: Vec<Module> = Vec::new();
        for entry in entries {
            let entry = entry.as_object();
            let entry = entry.ok_or_else(|| invalid("has an entry that is not a module".into()))?;
            let module = Module::read(entry)?;
            // As in a dictionary: a name that comes again keeps its place, and has the new value.
            match modules.iter_mut().find(|known| known.name == module.name) {
                Some(known) => *known = module,
                None => modules.push(module),
            }
        }
        let takes_texts = |module: &Module| {
            matches!(module.kind, ModuleKind::Transformer | ModuleKind::StaticEmbedding)
        };
        if !takes_texts(&modules[0]) || modules[1..].iter().any(takes_texts) {
            let what = "this order of modules";
            return Err(Error::unsupported(MODULES_JSON, what, SUPPORTED));
        }
        Ok(Self::Modules(modules))
    }
}

impl Module {
    fn read(entry: &Object) -> Result<Self> {
        let text = |key: &str| match entry.get(key) {
            Some(Json::Str(text)) => Ok(text.as_str()),
            Some(value) => {
                Err(invalid(format!("a module has the {key} {value}, which is not a string")))
            }
            None => Err(invalid(format!("a module has no \"{key}\""))),
        };
        let path = text("path")?;
        let path = plain_path(path).ok_or_else(|| {
            invalid(format!("\"{path}\" is not a folder within the model folder"))
        })?;
        let class = text("type")?;
        let name = text("name")?;
        // What torch.nn.Module.add_module refuses.
        if name.is_empty() || name.contains('.') {
            return Err(invalid(format!(
                "a module has the name \"{name}\"; a name must not be empty or contain a dot"
            )));
        }
        let kind = ModuleKind::of(class).ok_or_else(|| {
            Error::unsupported(MODULES_JSON, format!("module type \"{class}\""), SUPPORTED)
        })?;
        // Arguments of a call that a module wants to see. These modules make nothing of any, and most take none.
        if let Some(value) = entry.get("kwargs") {
            let takes_any = matches!(
                kind,
                ModuleKind::Transformer | ModuleKind::StaticEmbedding | ModuleKind::Pooling
            );
            let is_iterable = matches!(value, Json::List(_) | Json::Object(_) | Json::Str(_));
            if !is_iterable || (value.is_true() && !takes_any) {
                return Err(Error::unsupported(MODULES_JSON, format!("kwargs {value}"), "[]"));
            }
        }
        Ok(Self { name: name.into(), kind, path })
    }
}

/// A folder's path as others write it, or `None` for one that leads out of the model's folder.
fn plain_path(path: &str) -> Option<String> {
    let is_drive = path.as_bytes().get(1) == Some(&b':');
    if path.starts_with('/') || path.contains(['\\', '\0']) || is_drive {
        return None;
    }
    let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

fn invalid(problem: String) -> Error {
    Error::invalid(MODULES_JSON, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(modules_json: &str, config: Option<&str>) -> Result<Layout> {
        let mut folder = Folder::default();
        folder.put(MODULES_JSON, modules_json.into())?;
        if let Some(config) = config {
            folder.put(CONFIG_SENTENCE_TRANSFORMERS, config.into())?;
        }
        Layout::read(&folder)
    }

    fn module(name: &str, path: &str, class: &str) -> String {
        format!(
            r#"{{"idx": "x", "name": "{name}", "path": "{path}", "type": "sentence_transformers.{class}"}}"#
        )
    }

    const TRANSFORMER: &str = "base.modules.transformer.Transformer";

    #[test]
    fn classes_are_known_by_all_the_paths_that_python_finds() {
        for (class, kind) in [
            ("sentence_transformers.models.Pooling", Some(ModuleKind::Pooling)),
            ("sentence_transformers.models.Pooling.Pooling", Some(ModuleKind::Pooling)),
            ("sentence_transformers.models.Dense.Pooling", None),
            (
                "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
                Some(ModuleKind::Pooling),
            ),
            ("sentence_transformers.sentence_transformer.modules.Dense", Some(ModuleKind::Dense)),
            ("sentence_transformers.sentence_transformer.modules.dense.Dense", None),
            (
                "sentence_transformers.sentence_transformer.modules.normalize.Normalize",
                Some(ModuleKind::Normalize),
            ),
            ("sentence_transformers.models.StaticEmbedding", Some(ModuleKind::StaticEmbedding)),
            (
                "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding",
                Some(ModuleKind::StaticEmbedding),
            ),
            ("sentence_transformers.base.modules.StaticEmbedding", None),
            ("sentence_transformers.base.modules.Pooling", None),
            ("sentence_transformers.models.pooling.Pooling", Some(ModuleKind::Pooling)),
            ("sentence_transformers.models.dense.Dense", None),
            ("sentence_transformers.Pooling", None),
            ("my_module.Pooling", None),
            ("Pooling", None),
            ("", None),
        ] {
            assert_eq!(ModuleKind::of(class), kind, "{class}");
        }
    }

    #[test]
    fn a_folder_without_modules_is_plain_and_so_is_one_of_another_model_type() {
        assert_eq!(Layout::read(&Folder::default()).expect("valid"), Layout::Plain);
        let json = "a list nobody reads";
        assert!(layout(json, None).is_err());
        let json = format!("[{}]", module("0", "", TRANSFORMER));
        for model_type in ["\"CrossEncoder\"", "\"SparseEncoder\"", "null", "5"] {
            let config = format!(r#"{{"model_type": {model_type}}}"#);
            assert_eq!(layout(&json, Some(&config)).expect("valid"), Layout::Plain);
        }
        for config in ["{}", r#"{"model_type": "SentenceTransformer"}"#] {
            assert!(matches!(layout(&json, Some(config)), Ok(Layout::Modules(_))));
        }
    }

    #[test]
    fn a_name_that_comes_again_keeps_its_place() {
        let modules = [
            module("0", "0_Transformer/", TRANSFORMER),
            module("1", "1_Pooling", "models.Pooling"),
            module("2", "2_Dense", "models.Dense"),
            module("1", ".//2_Normalize/.", "models.Normalize"),
        ];
        let json = format!("[{}]", modules.join(","));
        let Layout::Modules(modules) = layout(&json, None).expect("valid") else { panic!("plain") };
        let found: Vec<_> = modules.iter().map(|m| (m.kind, m.path.as_str())).collect();
        let expected = [
            (ModuleKind::Transformer, "0_Transformer"),
            (ModuleKind::Normalize, "2_Normalize"),
            (ModuleKind::Dense, "2_Dense"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused() {
        for path in
            ["../secret", "/etc", "a/../b", "c:/x", "c:", "a\\\\b", "x\\u0000y", "\\\\\\\\a"]
        {
            let json = format!("[{}]", module("0", path, TRANSFORMER));
            let error = layout(&json, None).expect_err(path);
            assert_eq!(error.code(), "unsupported_model");
            assert!(error.to_string().contains("modules.json"), "{error}");
        }
        for (path, plain) in
            [("", ""), (".", ""), ("a//b/", "a/b"), ("ab:c", "ab:c"), ("a?b#c", "a?b#c")]
        {
            assert_eq!(plain_path(path).as_deref(), Some(plain));
        }
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let transformer = module("0", "", TRANSFORMER);
        for json in [
            "[]".into(),
            format!("[{}]", vec![module("0", "", TRANSFORMER); MAX_MODULES + 1].join(",")),
            "{}".into(),
            "null".into(),
            "[5]".into(),
            r#"[{"path": "", "name": "0"}]"#.into(),
            transformer.replace("\"0\"", "0"),
            format!("[{transformer}, {}]", module("", "1_Pooling", "models.Pooling")),
            format!("[{transformer}, {}]", module("a.b", "1_Pooling", "models.Pooling")),
            format!("[{transformer}, {}]", module("1", "", "models.Transformer")),
            format!("[{transformer}, {}]", module("1", "", "models.StaticEmbedding")),
            format!("[{transformer}, {}]", module("1", "", "models.WordWeights")),
            format!("[{}]", module("0", "1_Pooling", "models.Pooling")),
            format!("[{}]", transformer.replace('}', r#", "kwargs": 5}"#)),
        ] {
            assert_eq!(layout(&json, None).expect_err(&json).code(), "unsupported_model", "{json}");
        }
        assert_eq!(layout("<!doctype html>", None).expect_err("html").code(), "integrity");
    }
}
