//! An encoder's tensors, by their names in a weight file.
//!
//! A family states every name once, in its [`Names`]. One walk over an encoder's parts ([`EncoderNames::record`]) gives both:
//! the key table with all tensors and their shapes, and the parts' own names, by which the model takes them.

use embervec_weights::{ChunkGroups, KeyTable, Quantization};

use crate::{EncoderSpec, FeedForwardSpec};

/// In a file these are all there as one, or all in parts.
const QKV: ChunkGroups = ChunkGroups { whole: "qkv", parts: "query, key, value" };
const UP_GATE: ChunkGroups = ChunkGroups { whole: "up_gate", parts: "up, gate" };

/// The group of the pooler's tensors: all of them are there, or none.
pub const POOLER: &str = "pooler";

/// The names of a family's parts, without `.weight` and `.bias`; empty where there is no such part.
pub(crate) struct Names {
    /// What may stand before every name: where the encoder is a part of a model with heads.
    pub prefix: &'static str,
    /// What older files call parts of a name.
    pub renames: &'static [(&'static str, &'static str)],
    pub word_embeddings: &'static str,
    pub position_embeddings: &'static str,
    pub token_type_embeddings: &'static str,
    pub embeddings_norm: &'static str,
    /// From the embeddings' width to the layers'.
    pub projection: &'static str,
    /// What stands before the parts of a layer, by its group's number and its own within.
    pub layer: fn(usize, usize) -> String,
    pub layer_parts: LayerNames<&'static str>,
    /// A layer's queries, keys and values as one, in some files.
    pub qkv: &'static str,
    /// A layer's gate and intermediate layer as one, in some files.
    pub up_gate: &'static str,
    /// The same the other way round.
    pub gate_up: &'static str,
    /// What is added to scores by the distance of their tokens.
    pub relative_bias: &'static str,
    /// Behind the last layer, where normalisations come before what they are for.
    pub final_norm: &'static str,
    pub pooler: &'static str,
}

/// The names of a layer's parts; empty where there is no such part.
#[derive(Debug)]
pub(crate) struct LayerNames<T> {
    pub query: T,
    pub key: T,
    pub value: T,
    /// Of the queries of all heads together.
    pub query_norm: T,
    pub key_norm: T,
    pub attention_output: T,
    pub attention_norm: T,
    /// The same once more.
    pub repeated_norm: T,
    pub intermediate: T,
    pub gate: T,
    pub output: T,
    pub output_norm: T,
}

/// The whole names of an encoder's parts.
#[derive(Debug)]
pub(crate) struct EncoderNames {
    pub word_embeddings: String,
    pub position_embeddings: Option<String>,
    pub token_type_embeddings: Option<String>,
    pub embeddings_norm: String,
    pub projection: Option<String>,
    /// Those that have weights.
    pub layers: Vec<LayerNames<String>>,
    pub relative_bias: Option<String>,
    pub final_norm: Option<String>,
    pub pooler: Option<String>,
}

impl EncoderSpec {
    /// The tensors of this encoder.
    pub fn key_table(&self) -> KeyTable {
        EncoderNames::record(self).0
    }
}

impl EncoderNames {
    /// Walks over an encoder's parts.
    pub fn record(spec: &EncoderSpec) -> (KeyTable, Self) {
        let names = spec.family.names();
        let &EncoderSpec { embedding_size, hidden_size, .. } = spec;
        let table = KeyTable::new(names.prefix).renamed(names.renames);
        let mut recorder = Recorder { table, norms_have_bias: spec.layer_norm.has_bias };
        let layers = (0..spec.num_hidden_groups * spec.inner_group_num).map(|layer| {
            let (group, inner) = (layer / spec.inner_group_num, layer % spec.inner_group_num);
            let has_attention_norm = layer > 0 || !spec.layer_norm.is_before;
            recorder.layer(spec, &(names.layer)(group, inner), names, has_attention_norm)
        });
        let layers = layers.collect();
        let names = Self {
            word_embeddings: recorder
                .table(names.word_embeddings, [spec.vocab_size, embedding_size]),
            position_embeddings: spec.positions.has_table.then(|| {
                recorder.table(names.position_embeddings, [spec.positions.rows, embedding_size])
            }),
            token_type_embeddings: (spec.type_vocab_size > 0).then(|| {
                let shape = [spec.type_vocab_size, embedding_size];
                recorder.floats(names.token_type_embeddings, &shape)
            }),
            embeddings_norm: recorder.layer_norm(names.embeddings_norm.into(), embedding_size),
            projection: spec.has_projection.then(|| {
                recorder.linear(names.projection.into(), hidden_size, embedding_size, true)
            }),
            layers,
            relative_bias: (spec.attention.relative_buckets > 0).then(|| {
                let shape = [spec.attention.relative_buckets, spec.attention.num_heads];
                recorder.floats(names.relative_bias, &shape)
            }),
            final_norm: spec
                .layer_norm
                .is_before
                .then(|| recorder.layer_norm(names.final_norm.into(), hidden_size)),
            pooler: (!names.pooler.is_empty()).then(|| recorder.pooler(names.pooler, hidden_size)),
        };
        (recorder.table, names)
    }
}

/// Enters a part's tensors into the key table, and gives the part's name.
struct Recorder {
    table: KeyTable,
    norms_have_bias: bool,
}

impl Recorder {
    fn layer(
        &mut self,
        spec: &EncoderSpec,
        layer: &str,
        names: &Names,
        has_attention_norm: bool,
    ) -> LayerNames<String> {
        let (hidden, intermediate) = (spec.hidden_size, spec.feed_forward.intermediate_size);
        let FeedForwardSpec { has_gate, has_bias, has_output_bias, .. } = spec.feed_forward;
        let attention_bias = spec.attention.has_bias;
        let at = |part: &str| format!("{layer}.{part}");
        let whole = |part: &str| (!part.is_empty()).then(|| at(part));
        let parts = &names.layer_parts;
        let qkv = [parts.query, parts.key, parts.value].map(at);
        self.chunked(QKV, whole(names.qkv), &qkv, [hidden, hidden], attention_bias);
        let [query, key, value] = qkv;
        let intermediate_size = [intermediate, hidden];
        let (intermediate_name, gate) = (at(parts.intermediate), at(parts.gate));
        let [gate, intermediate_name] = match has_gate {
            true => {
                let whole_name = whole(names.up_gate).or_else(|| whole(names.gate_up));
                let mut both = [gate, intermediate_name];
                let is_gate_last = !names.gate_up.is_empty();
                if is_gate_last {
                    both.reverse();
                }
                self.chunked(UP_GATE, whole_name, &both, intermediate_size, has_bias);
                if is_gate_last {
                    both.reverse();
                }
                both
            }
            false => {
                let alone = [intermediate_name];
                self.chunked(UP_GATE, None, &alone, intermediate_size, has_bias);
                let [intermediate_name] = alone;
                [String::new(), intermediate_name]
            }
        };
        let [query_norm, key_norm] =
            [parts.query_norm, parts.key_norm].map(|part| match spec.attention.has_qk_norm {
                true => self.layer_norm(at(part), hidden),
                false => String::new(),
            });
        LayerNames {
            query,
            key,
            value,
            query_norm,
            key_norm,
            attention_output: self.linear(
                at(parts.attention_output),
                hidden,
                hidden,
                attention_bias,
            ),
            attention_norm: match has_attention_norm {
                true => self.layer_norm(at(parts.attention_norm), hidden),
                false => String::new(),
            },
            repeated_norm: match spec.layer_norm.is_repeated {
                true => self.layer_norm(at(parts.repeated_norm), hidden),
                false => String::new(),
            },
            intermediate: intermediate_name,
            gate,
            output: self.linear(at(parts.output), hidden, intermediate, has_output_bias),
            output_norm: self.layer_norm(at(parts.output_norm), hidden),
        }
    }

    /// Linear layers that a file may also have as one.
    fn chunked(
        &mut self,
        groups: ChunkGroups,
        whole: Option<String>,
        parts: &[String],
        [out_features, in_features]: [usize; 2],
        has_bias: bool,
    ) {
        let Some(whole) = whole else {
            for part in parts {
                self.linear(part.clone(), out_features, in_features, has_bias);
            }
            return;
        };
        let mut tensor = |kind: &str, shape: &[usize]| {
            let parts = parts.iter().map(|part| format!("{part}.{kind}")).collect();
            self.table.chunked(groups, format!("{whole}.{kind}"), parts, shape);
        };
        tensor("weight", &[out_features, in_features]);
        if has_bias {
            tensor("bias", &[out_features]);
        }
    }

    /// An embedding table, which may have 8 bits.
    fn table(&mut self, name: &str, shape: [usize; 2]) -> String {
        self.table.require_matrix(format!("{name}.weight"), shape, Quantization::TABLE);
        name.into()
    }

    /// What is always in floats.
    fn floats(&mut self, name: &str, shape: &[usize]) -> String {
        self.table.require(format!("{name}.weight"), shape);
        name.into()
    }

    fn linear(
        &mut self,
        name: String,
        out_features: usize,
        in_features: usize,
        has_bias: bool,
    ) -> String {
        let shape = [out_features, in_features];
        self.table.require_matrix(format!("{name}.weight"), shape, Quantization::Linear);
        if has_bias {
            self.table.require(format!("{name}.bias"), &[out_features]);
        }
        name
    }

    fn layer_norm(&mut self, name: String, size: usize) -> String {
        self.table.require(format!("{name}.weight"), &[size]);
        if self.norms_have_bias {
            self.table.require(format!("{name}.bias"), &[size]);
        }
        name
    }

    fn pooler(&mut self, name: &str, size: usize) -> String {
        let linear = Some(Quantization::Linear);
        self.table.optional(POOLER, format!("{name}.weight"), &[size, size], linear);
        self.table.optional(POOLER, format!("{name}.bias"), &[size], None);
        name.into()
    }
}
