//! ModernBERT (Warner et al., <https://arxiv.org/abs/2412.13663>): normalisations before what they are for, rotary positions, a
//! gate in its feed-forward blocks, and layers in which a token looks only at those near by.

use embervec_json::{Json, Object};
use embervec_kernels::Activation;

use super::{Family, bert};
use crate::config::{Fields, Type};
use crate::names::{LayerNames, Names};
use crate::spec::{LocalAttention, NormSpec, RotarySpec};
use crate::{EncoderSpec, FeedForwardSpec, Result};

/// The padding token where a configuration names none.
const PADDING: usize = 50_283;

/// [`ModernBertConfig`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/configuration_modernbert.py#L31)
pub(super) fn read(fields: &Fields) -> Result<EncoderSpec> {
    let sizes = [50_368, 768, 22, 12, 1152];
    let activation = fields.activation("hidden_activation", Activation::Gelu)?;
    let layer_norm = NormSpec {
        epsilon: fields.epsilon("norm_eps", 1e-5)?,
        has_bias: fields.flag("norm_bias")?,
        is_before: true,
        is_repeated: false,
    };
    let mut spec = bert::read_sizes(fields, Family::ModernBert, sizes, activation, layer_norm)?;
    let words = spec.vocab_size;
    if fields.get("pad_token_id").is_none() && words <= PADDING {
        return fields.invalid(format!(
            "vocab_size is {words}, and without a pad_token_id the padding token has the id {PADDING}"
        ));
    }
    let mlp_bias = fields.flag("mlp_bias")?;
    spec.attention.has_bias = fields.flag("attention_bias")?;
    spec.feed_forward = FeedForwardSpec {
        has_gate: true,
        has_bias: mlp_bias,
        has_output_bias: mlp_bias,
        ..spec.feed_forward
    };
    let [global, local] = thetas(fields)?;
    let reach = fields.dimension("local_attention", 128)? / 2;
    fields.rotary(&mut spec, 8192, RotarySpec::of(global))?;
    spec.attention.local = Some(LocalAttention {
        global_every: global_every(fields, spec.num_hidden_layers)?,
        // Half of them before a token, half behind it.
        reach,
        rotary: RotarySpec::of(local),
    });
    // Python sets `local_attention` by it, to twice as many.
    let is_same = |window: &Json| window.as_usize() == Some(reach);
    fields.must_be("sliding_window", &format!("half of local_attention, {reach}"), is_same)?;
    fields.check_types(&[
        ("embedding_dropout", Type::Number),
        ("attention_dropout", Type::Number),
        ("mlp_dropout", Type::Number),
        ("classifier_dropout", Type::Number),
        ("decoder_bias", Type::Bool),
        ("classifier_bias", Type::Bool),
        ("deterministic_flash_attn", Type::Bool),
        ("sparse_prediction", Type::Bool),
        ("sparse_pred_ignore_index", Type::Int),
        ("initializer_cutoff_factor", Type::Float),
        ("cls_token_id", Type::OptionalInt),
        ("sep_token_id", Type::OptionalInt),
    ])?;
    for name in ["embedding_dropout", "mlp_dropout"] {
        fields.check_share(name)?;
    }
    let is_pooling = |name: &Json| matches!(name.as_str(), Some("cls" | "mean"));
    fields.must_be("classifier_pooling", "cls, mean", is_pooling)?;
    Ok(spec)
}

/// The bases of rotary positions, of the layers that see all of a text and of the others.
fn thetas(fields: &Fields) -> Result<[f64; 2]> {
    const NAME: &str = "rope_parameters";
    let parameters = match fields.get(NAME) {
        None | Some(Json::Null) => &Object::default(),
        Some(Json::Object(parameters)) => parameters,
        Some(_) => {
            return fields.unsupported(NAME, "an object with an entry for each type of layer");
        }
    };
    if let Some((key, _)) = parameters.iter().find(|&(key, _)| key != FULL && key != SLIDING) {
        return fields.unsupported(NAME, &format!("{FULL} and {SLIDING}, not {key}"));
    }
    let of = |kind: &str, older: &str, default: f64| {
        fields.rotary_theta(NAME, parameters.get(kind), older, default)
    };
    Ok([of(FULL, "global_rope_theta", 160_000.0)?, of(SLIDING, "local_rope_theta", 10_000.0)?])
}

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// Which layers see all of a text: the first of so many.
fn global_every(fields: &Fields, layers: usize) -> Result<usize> {
    const NAME: &str = "layer_types";
    let types = match fields.get(NAME) {
        None | Some(Json::Null) => return fields.layers("global_attn_every_n_layers", 3),
        Some(Json::List(types)) => types,
        Some(_) => return fields.unsupported(NAME, "a list"),
    };
    let is_global = |kind: &Json| kind.as_str() == Some(FULL);
    let every = match types.iter().skip(1).position(is_global) {
        Some(between) => between + 1,
        None => layers.max(2),
    };
    let is_as_expected = |(layer, kind): (usize, &Json)| {
        kind.as_str() == Some(if layer.is_multiple_of(every) { FULL } else { SLIDING })
    };
    match types.len() == layers && types.iter().enumerate().all(is_as_expected) {
        true => Ok(every),
        false => fields.unsupported(
            NAME,
            &format!("one for each layer: {FULL}, then a fixed number of {SLIDING}, repeated"),
        ),
    }
}

pub(super) const NAMES: Names = Names {
    // `base_model_prefix` of
    // [`ModernBertPreTrainedModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py#L333)
    prefix: "model.",
    // [`ModernBertEmbeddings`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py#L51)
    word_embeddings: "embeddings.tok_embeddings",
    embeddings_norm: "embeddings.norm",
    // [`ModernBertModel`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py#L400)
    layer: |layer, _| format!("layers.{layer}"),
    final_norm: "final_norm",
    layer_parts: LayerNames {
        // [`ModernBertAttention`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py#L215);
        // the first three are how we call the parts of `Wqkv`.
        query: "attn.query",
        key: "attn.key",
        value: "attn.value",
        attention_output: "attn.Wo",
        // [`ModernBertEncoderLayer`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py#L297)
        attention_norm: "attn_norm",
        // [`ModernBertMLP`](https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/modernbert/modeling_modernbert.py#L80);
        // these two are how we call the parts of `Wi`.
        intermediate: "mlp.input",
        gate: "mlp.gate",
        output: "mlp.Wo",
        output_norm: "mlp_norm",
        ..bert::NAMES.layer_parts
    },
    qkv: "attn.Wqkv",
    gate_up: "mlp.Wi",
    pooler: "",
    ..bert::NAMES
};

#[cfg(test)]
mod tests {
    use crate::{EncoderSpec, LocalAttention, Result, RotarySpec};

    fn read(entries: &str) -> Result<EncoderSpec> {
        let json = format!(r#"{{"model_type": "modernbert"{entries}}}"#);
        EncoderSpec::from_json("config.json", json.as_bytes())
    }

    fn local(entries: &str) -> LocalAttention {
        read(entries).expect("valid").attention.local.expect("local layers")
    }

    #[test]
    fn older_and_newer_configurations_are_the_same() {
        let new = r#", "num_hidden_layers": 4, "local_attention": 64, "rope_parameters": {
            "full_attention": {"rope_theta": 80000.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 5000, "rope_type": "default"}},
            "layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]"#;
        let old = r#", "num_hidden_layers": 4, "local_attention": 64, "global_rope_theta": 80000.0, "local_rope_theta": 5000,
            "global_attn_every_n_layers": 2"#;
        assert_eq!(read(new).expect("new"), read(old).expect("old"));
        assert_eq!(
            local(new),
            LocalAttention { global_every: 2, reach: 32, rotary: RotarySpec::of(5000.0) }
        );
        assert_eq!(read(new).expect("new").attention.rotary, Some(RotarySpec::of(80_000.0)));
        assert_eq!(
            local(""),
            LocalAttention { global_every: 3, reach: 64, rotary: RotarySpec::of(10_000.0) }
        );
    }

    #[test]
    fn what_python_does_not_look_at_is_no_matter() {
        for entries in [
            // As mmBERT has it.
            r#", "position_embedding_type": "sans_pos""#,
            r#", "hidden_act": "mish", "layer_norm_eps": 1"#,
            r#", "num_hidden_layers": 1, "layer_types": ["full_attention"], "global_attn_every_n_layers": 0"#,
            r#", "sliding_window": 64"#,
            r#", "vocab_size": 50283, "pad_token_id": 0"#,
            r#", "global_rope_theta": null, "local_rope_theta": null, "rope_parameters": {
                "full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
                "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}"#,
        ] {
            read(entries).expect(entries);
        }
    }

    #[test]
    fn layers_see_all_of_a_text_or_what_is_near() {
        let sees_all = |entries: &str| {
            let spec = read(entries).expect("valid");
            let layers = 0..spec.num_hidden_layers;
            layers.map(|layer| spec.attention.local_at(layer).is_none()).collect::<Vec<_>>()
        };
        assert_eq!(sees_all(r#", "num_hidden_layers": 4"#), [true, false, false, true]);
        let all =
            r#", "num_hidden_layers": 2, "layer_types": ["full_attention", "full_attention"]"#;
        assert_eq!(sees_all(all), [true, true]);
        let one = r#", "num_hidden_layers": 1, "layer_types": ["full_attention"]"#;
        assert_eq!(sees_all(one), [true]);
        let first = r#", "num_hidden_layers": 3,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]"#;
        assert_eq!(sees_all(first), [true, false, false]);
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        for entries in [
            r#", "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]"#,
            r#", "num_hidden_layers": 2, "layer_types": ["full_attention"]"#,
            r#", "num_hidden_layers": 2, "layer_types": ["full_attention", "chunked_attention"]"#,
            r#", "num_hidden_layers": 4,
                "layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"]"#,
            r#", "layer_types": 3"#,
            r#", "sliding_window": 2"#,
            r#", "sliding_window": null"#,
            r#", "global_rope_theta": 160000, "local_rope_theta": null"#,
            r#", "rope_parameters": {"full_attention": null}"#,
            r#", "vocab_size": 50283"#,
            r#", "embedding_dropout": 1.5"#,
            r#", "initializer_cutoff_factor": 2"#,
            r#", "classifier_pooling": "max""#,
            r#", "cls_token_id": "a""#,
            r#", "rope_parameters": {"rope_theta": 10000}"#,
            r#", "rope_parameters": {"full_attention": {"rope_type": "yarn"}}"#,
            r#", "rope_parameters": {"full_attention": []}"#,
            r#", "rope_scaling": {"rope_type": "linear", "factor": 2.0}"#,
            r#", "global_rope_theta": 0"#,
            r#", "local_attention": 0"#,
            r#", "norm_bias": 1"#,
            r#", "hidden_activation": "quick_gelu""#,
        ] {
            read(entries).expect_err(entries);
        }
    }
}
