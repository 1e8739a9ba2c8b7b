//! The same vectors as sentence-transformers, for every fixture.

mod support;

use burn::tensor::activation::gelu;
use burn::tensor::{Tensor, TensorData};
use embervec_embed::{EncodeOptions, Output, PoolingMode, WeightDtype};
use embervec_encoder::PackedBatch;
use embervec_encoder::ops::to_vec;
use support::{Case, max_difference};

/// fp32 in another order of summation: measured differences are below 1e-6 for unit vectors.
const TOLERANCE: f32 = 1e-5;

/// The tiny models' vectors are not normalised and have components up to about 5, so the same
/// relative precision is a larger absolute one.
const TINY_TOLERANCE: f32 = 1e-5;

fn options(case: &Case) -> EncodeOptions {
    EncodeOptions { prompt_name: case.prompt_name.clone(), ..EncodeOptions::default() }
}

#[test]
fn mini_lm_gives_sentence_transformers_vectors() {
    let (embedder, expected) = support::mini_lm(WeightDtype::Fp32);
    assert!(expected.cases.len() >= 60);
    assert_eq!(embedder.dimension(), expected.dimension);
    assert_eq!(embedder.max_seq_length(), expected.max_seq_length);
    for case in &expected.cases {
        let tokens = embedder.tokenize(&case.text).expect("tokens");
        assert_eq!(tokens.input_ids, case.input_ids, "{}", case.name);
        assert_eq!(tokens.truncated, case.truncated, "{}", case.name);
        let count = embedder.token_count(&case.text).expect("a count");
        let most = expected.max_seq_length.expect("a limit") - embedder.special_tokens();
        let encoded = case.input_ids.len() - embedder.special_tokens();
        assert_eq!((count.min(most), count > most), (encoded, case.truncated), "{}", case.name);
        let encoded = embedder.encode(&[&case.text], &options(case)).expect("encodes");
        assert_eq!(encoded.token_counts, [case.input_ids.len() as u32], "{}", case.name);
        assert_eq!(encoded.truncated, [case.truncated], "{}", case.name);
        let difference = max_difference(&encoded.vectors, &case.embedding());
        assert!(difference < TOLERANCE, "{}: {difference:e}", case.name);
    }
}

#[test]
fn the_tokens_of_a_long_text_are_counted_in_parts() {
    let (embedder, _) = support::mini_lm(WeightDtype::Fp32);
    assert_eq!(embedder.special_tokens(), 2);
    let line = "Größe, naïveté, 東京の天気 и погода 🙂; an unbelievable e\u{301}lan.\n";
    let once = embedder.token_count(line).expect("a count");
    assert!(once > 20, "{once}");
    assert_eq!(embedder.token_count(&line.repeat(50_000)).expect("a count"), 50_000 * once);
    assert_eq!(embedder.token_count("").expect("a count"), 0);
    // One word, which is one unknown token, as long as it is no more than can be tokenized together.
    assert_eq!(embedder.token_count(&"a".repeat(1_000_000)).expect("a count"), 1);
    let error = embedder.token_count(&"a".repeat(5_000_000)).expect_err("a word of 5 MB");
    assert!(error.to_string().contains("split it"), "{error}");
}

#[test]
fn pooling_and_normalization_are_those_of_the_folder() {
    let (embedder, _) = support::mini_lm(WeightDtype::Fp32);
    assert_eq!((embedder.pooling(), embedder.normalizes()), (vec![PoolingMode::Mean], true));
    let (embedder, _) = support::tiny("tiny-cls");
    assert_eq!(embedder.pooling(), [PoolingMode::Cls]);
}

#[test]
fn every_tiny_model_gives_sentence_transformers_vectors() {
    let names = support::tiny_models();
    assert!(names.len() >= 13, "{names:?}");
    for name in names {
        let (embedder, expected) = support::tiny(&name);
        assert_eq!(embedder.dimension(), expected.dimension, "{name}");
        assert_eq!(embedder.max_seq_length(), expected.max_seq_length, "{name}");
        assert_eq!(embedder.similarity(), expected.similarity, "{name}");
        for case in &expected.cases {
            let what = format!("{name}, {}, prompt {:?}", case.name, case.prompt_name);
            let encoded = embedder.encode(&[&case.text], &options(case)).expect(&what);
            assert_eq!(encoded.truncated, [case.truncated], "{what}");
            let difference = max_difference(&encoded.vectors, &case.embedding());
            assert!(difference < TINY_TOLERANCE, "{what}: {difference:e}");

            let Some(token_embeddings) = case.token_embeddings() else { continue };
            let options = EncodeOptions { output: Output::Token, ..options(case) };
            let encoded = embedder.encode(&[&case.text], &options).expect(&what);
            let difference = max_difference(&encoded.vectors, &token_embeddings);
            assert!(difference < TINY_TOLERANCE, "{what}, tokens: {difference:e}");
        }
    }
}

#[test]
fn the_pooler_gives_transformers_pooler_output() {
    let (model, expected) = support::tiny_bert("tiny-bert-prefix");
    // One text and one pair: the second segment has token type 1.
    assert_eq!(expected.heads.len(), 2);
    assert!(expected.heads[1].token_type_ids.contains(&1));
    let mut batch = PackedBatch::new();
    for head in &expected.heads {
        batch.push(&head.input_ids, &head.token_type_ids).expect("tokens");
    }
    let last_hidden_state = model.forward(&batch).expect("encodes");
    let pooler_output = model.pooler_output(last_hidden_state, &batch).expect("a pooler");
    let vectors: Vec<f32> = expected.heads.iter().flat_map(|head| head.pooler_output()).collect();
    let difference = max_difference(&to_vec(pooler_output).expect("values"), &vectors);
    assert!(difference < TINY_TOLERANCE, "{difference:e}");
}

/// What BERT was trained with, on top of this encoder's tokens and of its pooler: the encoder must give what it was trained
/// to give, in both segments.
#[test]
fn the_heads_of_pretraining_give_transformers_logits() {
    let (model, expected) = support::tiny_bert("tiny-bert-prefix");
    let tensor = |name: &str| support::tiny_tensor("tiny-bert-prefix", name);
    for head in &expected.heads {
        let mut batch = PackedBatch::new();
        batch.push(&head.input_ids, &head.token_type_ids).expect("tokens");
        let hidden = model.forward(&batch).expect("encodes");
        let pooled = model.pooler_output(hidden.clone(), &batch).expect("a pooler");

        let dense = linear(
            hidden,
            tensor("cls.predictions.transform.dense.weight"),
            tensor("cls.predictions.transform.dense.bias"),
        );
        let normed = layer_norm(
            gelu(dense),
            tensor("cls.predictions.transform.LayerNorm.gamma"),
            tensor("cls.predictions.transform.LayerNorm.beta"),
        );
        // The words' own vectors are the weights of the last layer.
        let words = tensor("bert.embeddings.word_embeddings.weight");
        let logits = linear(normed, words, tensor("cls.predictions.bias"));
        let difference =
            max_difference(&to_vec(logits).expect("values"), &head.prediction_logits());
        assert!(difference < TINY_TOLERANCE, "masked words: {difference:e}");

        let [weight, bias] =
            ["weight", "bias"].map(|name| tensor(&format!("cls.seq_relationship.{name}")));
        let logits = to_vec(linear(pooled, weight, bias)).expect("values");
        let difference = max_difference(&logits, &head.seq_relationship_logits());
        assert!(difference < TINY_TOLERANCE, "next sentence: {difference:e}");
    }
}

/// `weight` is `[out, in]`, as in the file.
fn linear(x: Tensor<2>, weight: (Vec<f32>, Vec<usize>), bias: (Vec<f32>, Vec<usize>)) -> Tensor<2> {
    let (device, outputs) = (x.device(), bias.0.len());
    let shape: [usize; 2] = weight.1.try_into().expect("a matrix");
    let weight = Tensor::<2>::from_data(TensorData::new(weight.0, shape), &device);
    let bias = Tensor::<2>::from_data(TensorData::new(bias.0, [1, outputs]), &device);
    x.matmul(weight.transpose()) + bias
}

fn layer_norm(
    x: Tensor<2>,
    weight: (Vec<f32>, Vec<usize>),
    bias: (Vec<f32>, Vec<usize>),
) -> Tensor<2> {
    let device = x.device();
    let [weight, bias] = [weight, bias].map(|(values, _)| {
        let size = values.len();
        Tensor::<2>::from_data(TensorData::new(values, [1, size]), &device)
    });
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().powf_scalar(2.0).mean_dim(1);
    centred / (variance + 1e-12).sqrt() * weight + bias
}

#[test]
fn in_8_bits_the_vectors_point_the_same_way() {
    assert_cosines(WeightDtype::Q8, 0.998, 0.995);
}

/// Weights are off by at most 1 in 2048.
#[test]
fn in_16_bits_the_vectors_hardly_differ() {
    assert_cosines(WeightDtype::Fp16, 0.999_99, 0.999_99);
}

/// MiniLM's cosines to sentence-transformers' vectors are at least these.
fn assert_cosines(dtype: WeightDtype, least_mean: f64, least: f64) {
    let (embedder, expected) = support::mini_lm(dtype);
    let cosine = |case: &Case| {
        let encoded = embedder.encode(&[&case.text], &options(case)).expect("encodes");
        let products = encoded.vectors.iter().zip(case.embedding());
        products.map(|(&a, b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    let cosines: Vec<f64> = expected.cases.iter().map(cosine).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let (worst, case) = cosines
        .iter()
        .zip(&expected.cases)
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
        .expect("there are cases");
    println!("{dtype:?}: mean {mean}, worst {worst} ({})", case.name);
    assert!(mean >= least_mean, "mean {mean}");
    assert!(*worst >= least, "{}: {worst}", case.name);
}

#[test]
fn a_text_has_the_same_bits_alone_and_in_any_batch() {
    for dtype in [WeightDtype::Fp32, WeightDtype::Q8] {
        let (embedder, expected) = support::mini_lm(dtype);
        let cases = &expected.cases;
        // 37 and 64 have no common factor: a fixed shuffle.
        let shuffled: Vec<&Case> =
            (0..64).map(|i| &cases[(i * 37 + 11) % 64.min(cases.len())]).collect();
        let texts: Vec<&str> = shuffled.iter().map(|case| case.text.as_str()).collect();
        let together = embedder.encode(&texts, &EncodeOptions::default()).expect("encodes");
        let vectors = together.vectors.chunks_exact(together.dimension);
        for (case, vector) in shuffled.iter().zip(vectors) {
            let alone = embedder.encode(&[&case.text], &EncodeOptions::default()).expect("encodes");
            assert_eq!(vector, alone.vectors, "{dtype:?}, {}", case.name);
        }
    }
}
