//! Compares every kernel in every variant with `scalar`, over all remainders of its tiles. Runs
//! natively (`kernels.rs`) and in a browser (`examples/browser.rs`).

use embervec_kernels::*;

const ACTIVATIONS: [Activation; 5] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu, Activation::Tanh];

pub type Check = fn() -> Result<(), String>;

pub const CHECKS: &[(&str, Check)] = &[
    ("linear_f32", linear_f32_computes_the_product),
    ("linear_f32 extremes", linear_f32_survives_extremes),
    ("linear_q8", linear_q8_gives_the_same_integers),
    ("linear_q8 extremes", linear_q8_survives_extremes),
    ("linear_q8 not finite", linear_q8_shows_what_is_not_finite),
    ("activations", activations_are_accurate),
    ("layer_norm", layer_norm_normalises),
    ("attention", attention_attends),
    ("attention strides", attention_leaves_what_is_between_its_rows),
    ("self_attention", self_attention_is_a_layer_and_attention),
    ("self_attention rotary", self_attention_turns_queries_and_keys),
    ("feed_forward", feed_forward_is_two_layers),
    ("rows", a_row_does_not_depend_on_its_neighbours),
    ("self_attention with norms", self_attention_normalises_queries_and_keys),
    ("attention that is not finite", attention_shows_what_is_not_finite),
    ("quantize_row", quantized_rows_come_back),
    ("quantize_weights", quantized_weights_come_back),
    ("outliers", rotation_tames_outliers),
    ("i8_dot", i8_dot_gives_the_same_integers),
    ("above", above_gives_the_same_rows),
    ("bit_dot", bit_dot_gives_the_same_integers),
    ("sign_bits", sign_bits_estimate_products),
];

macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(format!($($message)+));
        }
    };
}

/// Numbers that look random and are the same everywhere: xorshift64* (Vigna 2016).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    /// `count` values between -1 and 1.
    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() as f32 / (1u64 << 31) as f32 - 1.0).collect()
    }

    fn below(&mut self, end: u64, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() % end) as u8).collect()
    }
}

/// Calls `f` with every variant installed; it must give the same bits with each.
fn in_every_variant(f: impl Fn() -> Result<Vec<f32>, String>) -> Result<Vec<f32>, String> {
    let before = Selection::current();
    let mut first: Option<Vec<f32>> = None;
    for selection in Selection::all() {
        selection.install();
        let out = f().map_err(|problem| format!("{selection:?}: {problem}"))?;
        if let Some(first) = &first {
            check!(same_bits(first, &out), "{selection:?} gives other bits");
        }
        first.get_or_insert(out);
    }
    before.install();
    first.ok_or_else(|| "there is no variant".into())
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn in_f32(panels: &[f32], in_features: usize, out_features: usize) -> Linear<'_> {
    Linear { weights: LinearWeights::F32(panels), in_features, out_features }
}

fn in_q8(packed: &PackedQ8, in_features: usize, out_features: usize) -> Linear<'_> {
    let PackedQ8 { panels, params } = packed;
    Linear { weights: LinearWeights::Q8 { panels, params }, in_features, out_features }
}

/// The weights and biases of a layer in both forms.
fn layer(numbers: &mut Numbers, in_features: usize, out_features: usize) -> (Vec<f32>, PackedQ8) {
    let (weight, bias) = (numbers.floats(out_features * in_features), numbers.floats(out_features));
    let mut values = Vec::new();
    let rows: Vec<_> =
        weight.chunks(in_features).map(|row| quantize_weights(row, &mut values)).collect();
    (pack_f32(&weight, &bias, in_features), pack_q8(&values, &rows, &bias, in_features))
}

/// All remainders of 5 rows and 16 columns, and inner dimensions around multiples of 4.
fn shapes() -> impl Iterator<Item = (usize, usize, usize)> {
    let rows = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    let columns = (1..=17).chain([31, 32, 33, 48]);
    columns
        .flat_map(move |n| rows.map(move |m| (m, n)))
        .flat_map(|(m, n)| [1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 19, 64, 65].map(|k| (m, n, k)))
}

/// How far a sum of `addends` numbers, whose sizes add up to `size`, may be from the exact one in f32: the error of a sum
/// grows as the square root of its length (Higham and Mary, <https://doi.org/10.1137/18M1226312>, with λ = 4: of 30,000
/// sums one is further off), and half a unit in the last place is lost at each step.
fn rounding(addends: usize, size: f64) -> f64 {
    4.0 * (addends as f64).sqrt() * f64::from(f32::EPSILON) / 2.0 * size
}

/// The sizes of the products of two vectors, added up.
fn size_of_product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from((a * b).abs())).sum()
}

fn linear_f32_computes_the_product() -> Result<(), String> {
    let mut numbers = Numbers(1);
    for (m, n, k) in shapes().chain([(130, 20, 40), (257, 3, 5)]) {
        let (x, weight, bias) = (numbers.floats(m * k), numbers.floats(n * k), numbers.floats(n));
        let panels = pack_f32(&weight, &bias, k);
        let out = in_every_variant(|| {
            let mut out = vec![f32::NAN; m * n];
            linear(&x, in_f32(&panels, k, n), Activation::Identity, &mut out);
            Ok(out)
        })?;
        let expected = scalar::linear_f32(&x, &weight, &bias, k);
        for (i, (&out, &expected)) in out.iter().zip(&expected).enumerate() {
            let (x, weight) = (&x[i / n * k..][..k], &weight[i % n * k..][..k]);
            let size = size_of_product(x, weight) + f64::from(bias[i % n].abs());
            let bound = rounding(k + 1, size);
            let error = (f64::from(out) - expected).abs();
            check!(error <= bound, "{m}x{n}x{k}: out[{i}] is {out}, not {expected}");
        }
    }
    Ok(())
}

fn linear_f32_survives_extremes() -> Result<(), String> {
    let k = 9;
    for value in [0.0, 1e-40, f32::MIN_POSITIVE, 1e30, -1e30] {
        let x = vec![value; 3 * k];
        let panels = pack_f32(&vec![1.0; 5 * k], &[0.5; 5], k);
        let out = in_every_variant(|| {
            let mut out = vec![f32::NAN; 15];
            linear(&x, in_f32(&panels, k, 5), Activation::Identity, &mut out);
            Ok(out)
        })?;
        let expected = (0..k).fold(0.5_f32, |sum, _| sum + value);
        check!(out.iter().all(|&x| x == expected), "{value}: {out:?}, not {expected}");
    }
    Ok(())
}

/// With scales of 1 and no bias, each output is the exact integer times the row's own scale.
fn compare_q8(x: &[f32], weight: &[u8], rows: &[RowQ8], k: usize) -> Result<(), String> {
    let (m, n) = (x.len() / k, rows.len());
    let packed = pack_q8(weight, rows, &vec![0.0; n], k);
    let out = in_every_variant(|| {
        let mut out = vec![f32::NAN; m * n];
        linear(x, in_q8(&packed, k, n), Activation::Identity, &mut out);
        Ok(out)
    })?;
    let (sums, scales) = scalar::linear_q8(x, weight, rows, k);
    let expected: Vec<f32> =
        sums.iter().enumerate().map(|(i, &sum)| sum as f32 * scales[i / n] + 0.0).collect();
    check!(same_bits(&out, &expected), "{m}x{n}x{k}: {out:?}, not {expected:?}");
    Ok(())
}

fn linear_q8_gives_the_same_integers() -> Result<(), String> {
    let mut numbers = Numbers(2);
    for (m, n, k) in shapes().chain([(66, 20, 40), (129, 3, 5)]) {
        let x = numbers.floats(m * k);
        let weight = numbers.below(128, n * k);
        let rows: Vec<_> = numbers
            .below(128, n)
            .into_iter()
            .map(|zero_point| RowQ8 { scale: 1.0, zero_point })
            .collect();
        compare_q8(&x, &weight, &rows, k)?;
    }
    Ok(())
}

/// Patterns that saturate where a kernel cuts a corner, in BERT-large's longest sum.
fn linear_q8_survives_extremes() -> Result<(), String> {
    let (n, k) = (17, 4096);
    let patterns: [fn(usize) -> f32; 6] = [
        |_| 1.0,
        |_| -1.0,
        |i| if i % 2 == 0 { 1.0 } else { -1.0 },
        |i| if i % 4 < 2 { -1.0 } else { 0.0 },
        |_| 0.0,
        |i| if i == 0 { 1e30 } else { 1e-30 },
    ];
    for (number, pattern) in patterns.iter().enumerate() {
        for (weight, zero_point) in [(0, 127), (127, 0), (127, 127), (64, 64)] {
            let x: Vec<f32> = (0..5 * k).map(|i| pattern(i % k)).collect();
            let rows = vec![RowQ8 { scale: 1.0, zero_point }; n];
            compare_q8(&x, &vec![weight; n * k], &rows, k)
                .map_err(|problem| format!("pattern {number}, weight {weight}: {problem}"))?;
        }
    }
    // Values below what a reciprocal can express count as 0.
    compare_q8(&[1e-40; 8], &[1; 16], &[RowQ8 { scale: 1.0, zero_point: 0 }; 2], 8)
}

fn linear_q8_shows_what_is_not_finite() -> Result<(), String> {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for k in [3, 8] {
            let mut x = vec![0.5; 2 * k];
            x[k - 1] = value;
            let packed = pack_q8(&vec![3; k], &[RowQ8 { scale: 1.0, zero_point: 0 }], &[0.0], k);
            let mut out = [0.0; 2];
            linear(&x, in_q8(&packed, k, 1), Activation::Identity, &mut out);
            check!(out[0].is_nan(), "{value} of {k} became {}", out[0]);
            check!(out[1].is_finite(), "{value} of {k} spread to the next row");
        }
    }
    Ok(())
}

/// An activation of single values, by a layer of width 1 and weight 1.
fn activations_are_accurate() -> Result<(), String> {
    let panels = pack_f32(&[1.0], &[0.0], 1);
    let x: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-4).collect();
    for activation in ACTIVATIONS {
        let mut out = vec![f32::NAN; x.len()];
        linear(&x, in_f32(&panels, 1, 1), activation, &mut out);
        for (&x, &out) in x.iter().zip(&out) {
            let expected = scalar::activate(f64::from(x), activation);
            let error = (f64::from(out) - expected).abs() / f64::from(x.abs()).max(4.0) * 4.0;
            check!(error <= 1e-6, "{activation:?}({x}) is {out}, not {expected}");
        }
        // Far from 0, in vectors and at the end of a row.
        for x in [-1e30, -1e4, -200.0, -90.0, 90.0, 200.0, 1e4, 1e30] {
            let panels = pack_f32(&[1.0; 5], &[0.0; 5], 1);
            let mut out = [f32::NAN; 5];
            linear(&[x], in_f32(&panels, 1, 5), activation, &mut out);
            let expected = scalar::activate(f64::from(x), activation) as f32;
            let is_near = out.iter().all(|out| (out - expected).abs() <= 1e-6 * x.abs());
            check!(is_near, "{activation:?}({x}) is {out:?}, not {expected}");
        }
        for x in [f32::NAN, f32::INFINITY] {
            let panels = pack_f32(&[1.0; 5], &[0.0; 5], 1);
            let mut out = [0.0; 5];
            linear(&[x], in_f32(&panels, 1, 5), activation, &mut out);
            let is_finite = out.iter().any(|out| out.is_finite());
            let is_one = activation == Activation::Tanh && x == f32::INFINITY;
            check!(!is_finite || is_one, "{activation:?}({x}) is {out:?}");
        }
    }
    Ok(())
}

fn layer_norm_normalises() -> Result<(), String> {
    let mut numbers = Numbers(3);
    for size in (1..=17).chain([32, 64, 384, 1024]) {
        for rows in 1..4 {
            let (x, residual) = (numbers.floats(rows * size), numbers.floats(rows * size));
            let (weight, bias) = (numbers.floats(size), numbers.floats(size));
            let sum: Vec<f32> = x.iter().zip(&residual).map(|(a, b)| a + b).collect();
            for (residual, input) in [(None, &x), (Some(&residual[..]), &sum)] {
                let mut out = vec![f32::NAN; rows * size];
                layer_norm(&x, residual, &weight, &bias, 1e-12, &mut out);
                let expected = scalar::layer_norm(input, &weight, &bias, 1e-12);
                for (&out, &expected) in out.iter().zip(&expected) {
                    // A rounding of the mean counts by how much the division magnifies it.
                    let error = (f64::from(out) - expected).abs();
                    check!(error <= 2e-5, "size {size}: {out}, not {expected}");
                }
            }
        }
    }
    let mut out = [f32::NAN; 8];
    layer_norm(&[3.0; 8], None, &[2.0; 8], &[0.25; 8], 1e-12, &mut out);
    check!(out == [0.25; 8], "equal values: {out:?}");
    Ok(())
}

/// With and without what is added to scores (9 values a head), and windows: of the query alone, of less than a vector, and of what
/// ends within a vector.
fn relatives(values: &[f32]) -> impl Iterator<Item = Relative<'_>> {
    let biases = [None, Some(RelativeBias { values, reach: 4 })];
    let windows = [None, Some(0), Some(3), Some(9), Some(64)];
    let with = move |bias| windows.map(|window| Relative { rotary: None, bias, window });
    biases.into_iter().flat_map(with)
}

fn attention_attends() -> Result<(), String> {
    let mut numbers = Numbers(4);
    for (heads, head_size) in [(1, 1), (2, 8), (3, 16), (2, 20), (2, 32), (1, 64)] {
        for lengths in [&[1][..], &[2, 1, 5], &[16, 17], &[33, 4, 15], &[3, 11], &[70]] {
            let mut end = 0;
            let texts: Vec<_> = lengths
                .iter()
                .map(|length| {
                    end += length;
                    end - length..end
                })
                .collect();
            let hidden = heads * head_size;
            // Scores of up to 16 times the width: some softmaxes are flat, some a single peak.
            let qkv: Vec<f32> = numbers.floats(end * 3 * hidden).iter().map(|x| x * 4.0).collect();
            let values = numbers.floats(heads * 9);
            for relative in relatives(&values) {
                let out = in_every_variant(|| {
                    let mut out = vec![f32::NAN; end * hidden];
                    attention(&qkv, &texts, heads, head_size, relative, &mut out, hidden);
                    Ok(out)
                })?;
                let expected = scalar::attention(&qkv, &texts, heads, head_size, relative);
                for (i, (&out, &expected)) in out.iter().zip(&expected).enumerate() {
                    let (token, head) = (i / hidden, i % hidden / head_size);
                    let text = texts.iter().find(|text| text.contains(&token)).expect("a text");
                    let row = |token: usize, part: usize| {
                        &qkv[(token * 3 + part) * hidden + head * head_size..][..head_size]
                    };
                    let sizes = text.clone().map(|key| size_of_product(row(token, 0), row(key, 1)));
                    let size = sizes.fold(0.0, f64::max) / (head_size as f64).sqrt();
                    // A score that is off by so much makes its weight, which is its exponential, off by that share of itself, and
                    // the sum of all weights by as much again; 4e-7 are the exponential's own. A value is at most 4.
                    let share = 2.0 * (rounding(head_size, size) + 4e-7);
                    let bound = (share + rounding(text.len(), 1.0)) * 4.0;
                    let error = (f64::from(out) - expected).abs();
                    check!(error <= bound, "{heads} x {head_size}: {out}, not {expected}");
                }
            }
        }
    }
    Ok(())
}

fn attention_leaves_what_is_between_its_rows() -> Result<(), String> {
    let (tokens, heads, head_size) = (21, 3, 8);
    let hidden = heads * head_size;
    let qkv = Numbers(9).floats(tokens * 3 * hidden);
    let texts = [0..9, 9..21];
    let mut close = vec![0.0; tokens * hidden];
    attention(&qkv, &texts, heads, head_size, Relative::default(), &mut close, hidden);
    for stride in [hidden + 1, 2 * hidden + 5] {
        // The last row ends with its own values.
        let mut apart = vec![-7.0; (tokens - 1) * stride + hidden];
        attention(&qkv, &texts, heads, head_size, Relative::default(), &mut apart, stride);
        for (t, row) in apart.chunks(stride).enumerate() {
            check!(same_bits(&row[..hidden], &close[t * hidden..][..hidden]), "{stride}: row {t}");
            check!(row[hidden..].iter().all(|&x| x == -7.0), "{stride}: behind row {t}");
        }
    }
    Ok(())
}

/// Scores that do not fit into 32 bits, one too large, one too small, or one that is neither.
fn attention_shows_what_is_not_finite() -> Result<(), String> {
    let (tokens, head_size) = (13, 8);
    let text = 0..tokens;
    for (query, key) in
        [([1e30, 0.0], [1e30, 0.0]), ([1e30, 0.0], [-1e30, 0.0]), ([1e30; 2], [1e30, -1e30])]
    {
        for window in [None, Some(2)] {
            let mut qkv = Numbers(10).floats(tokens * 3 * head_size);
            let (place, stride) = (5 * 3 * head_size, 3 * head_size);
            qkv[place..][..2].copy_from_slice(&query);
            for token in 0..tokens {
                qkv[token * stride + head_size..][..2].copy_from_slice(&key);
            }
            let mut out = vec![0.0; tokens * head_size];
            let relative = Relative { window, ..Relative::default() };
            attention(
                &qkv,
                std::slice::from_ref(&text),
                1,
                head_size,
                relative,
                &mut out,
                head_size,
            );
            let row = &out[5 * head_size..][..head_size];
            check!(row.iter().all(|x| x.is_nan()), "{query:?} {key:?}, window {window:?}: {row:?}");
        }
    }
    Ok(())
}

/// To the bit, whether all heads are taken at once or only some.
fn self_attention_is_a_layer_and_attention() -> Result<(), String> {
    let mut numbers = Numbers(10);
    let in_features = 24;
    for (heads, head_size) in [(4, 16), (5, 16), (4, 24), (4, 12), (2, 20), (3, 32), (1, 64)] {
        let hidden = heads * head_size;
        let (panels, packed) = layer(&mut numbers, in_features, 3 * hidden);
        let values = numbers.floats(heads * 9);
        for lengths in [&[1][..], &[5, 3], &[300], &[200, 1, 340]] {
            let tokens: usize = lengths.iter().sum();
            let texts = lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end - length..*end)
            });
            let texts: Vec<_> = texts.collect();
            let x = numbers.floats(tokens * in_features);
            let layers =
                [in_f32(&panels, in_features, 3 * hidden), in_q8(&packed, in_features, 3 * hidden)];
            for qkv in layers {
                let mut rows = vec![0.0; tokens * 3 * hidden];
                linear(&x, qkv, Activation::Identity, &mut rows);
                let mut expected = vec![0.0; tokens * hidden];
                for relative in relatives(&values) {
                    attention(&rows, &texts, heads, head_size, relative, &mut expected, hidden);
                    let mut out = vec![f32::NAN; tokens * hidden];
                    self_attention(&x, qkv, &texts, heads, None, relative, &mut out);
                    check!(same_bits(&out, &expected), "{heads} x {head_size}, {tokens} tokens");
                }
            }
        }
    }
    Ok(())
}

/// To the bit, as by layer normalisations of the queries' and the keys' rows alone.
fn self_attention_normalises_queries_and_keys() -> Result<(), String> {
    let mut numbers = Numbers(13);
    let (in_features, epsilon) = (24, 1e-5);
    for (heads, head_size) in [(1, 5), (2, 6), (3, 7), (4, 16), (3, 32)] {
        let hidden = heads * head_size;
        let (panels, _) = layer(&mut numbers, in_features, 3 * hidden);
        let qkv = in_f32(&panels, in_features, 3 * hidden);
        let params = numbers.floats(4 * hidden);
        let texts = [0..5, 5..140];
        let x = numbers.floats(140 * in_features);
        let mut rows = vec![0.0; 140 * 3 * hidden];
        linear(&x, qkv, Activation::Identity, &mut rows);
        for row in rows.chunks_exact_mut(3 * hidden) {
            for (part, params) in row.chunks_exact_mut(hidden).zip(params.chunks_exact(2 * hidden))
            {
                let (weight, bias) = params.split_at(hidden);
                let before = part.to_vec();
                layer_norm(&before, None, weight, bias, epsilon, part);
            }
        }
        let norm = Some(QkNorm { params: &params, epsilon });
        let [mut expected, mut out] = [0.0, f32::NAN].map(|x| vec![x; 140 * hidden]);
        let relative = Relative::default();
        attention(&rows, &texts, heads, head_size, relative, &mut expected, hidden);
        self_attention(&x, qkv, &texts, heads, norm, relative, &mut out);
        check!(same_bits(&out, &expected), "{heads} x {head_size}");
    }
    Ok(())
}

/// Of one text and of several, with all heads at once and with some.
fn self_attention_turns_queries_and_keys() -> Result<(), String> {
    let mut numbers = Numbers(12);
    let in_features = 24;
    for (heads, head_size) in [(2, 2), (1, 6), (4, 12), (2, 20), (4, 24), (3, 32)] {
        let hidden = heads * head_size;
        let (panels, _) = layer(&mut numbers, in_features, 3 * hidden);
        let qkv = in_f32(&panels, in_features, 3 * hidden);
        let alone = 0..1;
        let alone = std::slice::from_ref(&alone);
        for texts in [alone, &[0..5, 5..8], &[0..130, 130..131, 131..400]] {
            let tokens = texts.last().map_or(0, |text| text.end);
            let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
            // No angles have these cosines and sines, which shows if one stands for another.
            let table = numbers.floats(longest * head_size);
            let x = numbers.floats(tokens * in_features);
            let mut rows = vec![0.0; tokens * 3 * hidden];
            linear(&x, qkv, Activation::Identity, &mut rows);
            let turned = scalar::rotary(&rows, texts, heads, head_size, &table);
            let turned: Vec<f32> = turned.iter().map(|&x| x as f32).collect();
            let relative =
                Relative { rotary: Some(Rotary { table: &table }), ..Relative::default() };
            let expected = scalar::attention(&turned, texts, heads, head_size, relative);
            let mut out = vec![f32::NAN; tokens * hidden];
            self_attention(&x, qkv, texts, heads, None, relative, &mut out);
            for (out, expected) in out.iter().zip(&expected) {
                // As of attention itself.
                let close = (f64::from(*out) - expected).abs() <= 2e-5 * (1.0 + expected.abs());
                check!(close, "{heads} x {head_size}, {tokens} tokens: {out} for {expected}");
            }
        }
    }
    Ok(())
}

fn feed_forward_is_two_layers() -> Result<(), String> {
    let mut numbers = Numbers(11);
    for (size, width) in [(20, 33), (16, 1000)] {
        let intermediate = layer(&mut numbers, size, width);
        let gate = layer(&mut numbers, size, width);
        let output = layer(&mut numbers, width, size);
        for rows in [1, 6, 131] {
            let x = numbers.floats(rows * size);
            let layers = [
                [&intermediate, &gate].map(|it| in_f32(&it.0, size, width)),
                [&intermediate, &gate].map(|it| in_q8(&it.1, size, width)),
            ];
            let outputs = [in_f32(&output.0, width, size), in_q8(&output.1, width, size)];
            let layers = layers.into_iter().zip(outputs);
            let all = layers.flat_map(|layers| ACTIVATIONS.map(|activation| (layers, activation)));
            for (([intermediate, gate], output), activation) in all {
                let mut wide = vec![0.0; rows * width];
                linear(&x, intermediate, activation, &mut wide);
                let mut factors = vec![0.0; rows * width];
                linear(&x, gate, Activation::Identity, &mut factors);
                for gate in [None, Some(gate)] {
                    if gate.is_some() {
                        wide.iter_mut().zip(&factors).for_each(|(x, factor)| *x *= factor);
                    }
                    let mut expected = vec![0.0; rows * size];
                    linear(&wide, output, Activation::Identity, &mut expected);
                    let mut out = vec![f32::NAN; rows * size];
                    feed_forward(&x, intermediate, gate, output, activation, &mut out);
                    check!(same_bits(&out, &expected), "{rows} x {size} by way of {width}");
                }
            }
        }
    }
    Ok(())
}

fn a_row_does_not_depend_on_its_neighbours() -> Result<(), String> {
    let mut numbers = Numbers(5);
    let (m, n, k) = (131, 35, 22);
    let x = numbers.floats(m * k);
    let weight = numbers.floats(n * k);
    let bias = numbers.floats(n);
    let panels = pack_f32(&weight, &bias, k);
    let mut values = Vec::new();
    let rows: Vec<_> = weight.chunks(k).map(|row| quantize_weights(row, &mut values)).collect();
    let packed = pack_q8(&values, &rows, &bias, k);
    let run = |x: &[f32]| {
        let mut out = vec![0.0; x.len() / k * n * 2];
        let (f32_out, q8_out) = out.split_at_mut(x.len() / k * n);
        linear(x, in_f32(&panels, k, n), Activation::Gelu, f32_out);
        linear(x, in_q8(&packed, k, n), Activation::Gelu, q8_out);
        out
    };
    let all = run(&x);
    for (r, row) in x.chunks(k).enumerate() {
        let alone = run(row);
        check!(same_bits(&alone[..n], &all[r * n..][..n]), "f32 row {r}");
        check!(same_bits(&alone[n..], &all[(m + r) * n..][..n]), "q8 row {r}");
    }

    let (heads, head_size) = (2, 16);
    let hidden = heads * head_size;
    let texts = [0..5, 5..24, 24..25];
    let qkv = numbers.floats(25 * 3 * hidden);
    let values = numbers.floats(heads * 9);
    for relative in relatives(&values) {
        let mut all = vec![0.0; 25 * hidden];
        attention(&qkv, &texts, heads, head_size, relative, &mut all, hidden);
        for text in &texts {
            let mut alone = vec![0.0; text.len() * hidden];
            let part = &qkv[text.start * 3 * hidden..text.end * 3 * hidden];
            let whole = 0..text.len();
            let whole = std::slice::from_ref(&whole);
            attention(part, whole, heads, head_size, relative, &mut alone, hidden);
            let all = &all[text.start * hidden..text.end * hidden];
            check!(same_bits(&alone, all), "text {text:?}");
        }
    }
    Ok(())
}

fn quantized_rows_come_back() -> Result<(), String> {
    let mut numbers = Numbers(6);
    let shift = |by: f32| move |x: &f32| x + by;
    for max in [WEIGHT_MAX, TABLE_MAX] {
        for by in [0.0, 0.5, 3.0, -3.0] {
            for length in 1..20 {
                let row: Vec<f32> = numbers.floats(length).iter().map(shift(by)).collect();
                let mut values = Vec::new();
                let quantized = quantize_row(&row, max, &mut values);
                check!(values.iter().all(|&value| value <= max), "{values:?} of at most {max}");
                let mut back = vec![f32::NAN; length];
                dequantize_row(&values, quantized, &mut back);
                for (x, back) in row.iter().zip(&back) {
                    // Half a step for the value and half a step for the zero point.
                    let error = (x - back).abs();
                    check!(error <= quantized.scale * 1.001, "{x} became {back}");
                }
            }
        }
        let mut values = Vec::new();
        let zero = quantize_row(&[0.0; 3], max, &mut values);
        let mut back = [1.0; 3];
        dequantize_row(&values, zero, &mut back);
        check!(back == [0.0; 3], "zeros became {back:?}");
    }
    Ok(())
}

fn quantized_weights_come_back() -> Result<(), String> {
    let mut numbers = Numbers(7);
    for length in (1..=40).chain([64, 128, 384, 512, 1536]) {
        let row = numbers.floats(length);
        let mut values = Vec::new();
        let quantized = quantize_weights(&row, &mut values);
        let mut back = vec![f32::NAN; length];
        dequantize_weights(&values, quantized, &mut back);
        let restored = scalar::rotate(&{
            let mut plain = vec![0.0; length];
            dequantize_row(&values, quantized, &mut plain);
            plain
        });
        check!(same_bits(&back, &restored), "{length}: {back:?}, not {restored:?}");
        let error: f32 = row.iter().zip(&back).map(|(x, back)| (x - back).powi(2)).sum();
        // At most 32 values of up to half a step plus half a step of the zero point are added up.
        let bound = length as f32 * 32.0 * quantized.scale.powi(2) * 1.001;
        check!(error <= bound, "{length}: {error} of at most {bound}");
    }
    Ok(())
}

/// One value of 100 among values of at most 1 would leave these 3 of 255 steps.
fn rotation_tames_outliers() -> Result<(), String> {
    let (n, k) = (64, 384);
    let mut numbers = Numbers(8);
    let mut x = numbers.floats(k);
    x[7] = 100.0;
    let bias = vec![0.0; n];
    let mut values = Vec::new();
    let rows: Vec<_> =
        numbers.floats(n * k).chunks(k).map(|row| quantize_weights(row, &mut values)).collect();
    // The weights as they are after quantisation: what is compared is the activations.
    let mut weight = vec![0.0; n * k];
    for ((values, &row), weight) in values.chunks(k).zip(&rows).zip(weight.chunks_mut(k)) {
        dequantize_weights(values, row, weight);
    }
    let expected = scalar::linear_f32(&x, &weight, &bias, k);
    let error = |out: &mut dyn Iterator<Item = f64>| {
        out.zip(&expected).map(|(out, expected)| (out - expected).powi(2)).sum::<f64>()
    };

    let packed = pack_q8(&values, &rows, &bias, k);
    let mut out = vec![0.0; n];
    linear(&x, in_q8(&packed, k, n), Activation::Identity, &mut out);
    let rotated = error(&mut out.into_iter().map(f64::from));

    let (q, scale) = scalar::quantize_activations(&x);
    let x: Vec<f32> = q.iter().map(|&q| scale * q as f32).collect();
    let plain = error(&mut scalar::linear_f32(&x, &weight, &bias, k).into_iter());
    check!(rotated < plain / 4.0, "squared error {rotated}, without rotation {plain}");
    Ok(())
}

/// Rows of a scan: remainders of the tile of rows, and dimensions around multiples of the blocks of 16 and of the words of 64.
fn scans() -> impl Iterator<Item = (usize, usize)> {
    let dimensions = (1..=35).chain([47, 48, 63, 64, 65, 100, 127, 128, 129, 384, 768, 1000]);
    dimensions.flat_map(|dimension| (0..=13).map(move |rows| (rows, dimension)))
}

fn i8_dot_gives_the_same_integers() -> Result<(), String> {
    let mut numbers = Numbers(11);
    let compare = |rows: &[i8], query: &[i16]| {
        let count = rows.len() / query.len();
        let mut out = vec![i32::MIN; count];
        i8_dot(rows, query, &mut out);
        let expected = scalar::i8_dot(rows, query);
        check!(out == expected, "{count} x {}: {out:?}, not {expected:?}", query.len());
        Ok(())
    };
    for (count, dimension) in scans() {
        let rows: Vec<i8> = numbers
            .below(255, count * dimension)
            .iter()
            .map(|&x| (i16::from(x) - 127) as i8)
            .collect();
        let query: Vec<i16> = (0..dimension).map(|_| numbers.next() as i16).collect();
        compare(&rows, &query)?;
        // The largest sums that a search makes.
        let most = (i32::MAX as usize / (127 * dimension)).min(i16::MAX as usize) as i16;
        for (x, y) in [(127, most), (-127, most), (127, -most), (-127, -most)] {
            compare(&vec![x; count * dimension], &vec![y; dimension])?;
        }
    }
    Ok(())
}

fn above_gives_the_same_rows() -> Result<(), String> {
    let mut numbers = Numbers(12);
    for count in 0..=64 {
        let dots: Vec<i32> = (0..count).map(|_| numbers.next() as i32 >> 8).collect();
        let (scale, error, size) =
            (numbers.floats(count), numbers.floats(count), numbers.floats(count));
        let rows = RowFactors { scale: &scale, error: &error, size: &size };
        let factors = numbers.floats(4);
        let reach = Reach {
            scale: factors[0] * 1e-6,
            error: factors[1],
            size: factors[2],
            square: factors[3],
        };
        // One of the keys itself is not above.
        let keys = (0..count).map(|i| reach.of(dots[i], scale[i], error[i], size[i]));
        for threshold in keys.chain([f32::NEG_INFINITY, 0.0, f32::INFINITY, f32::NAN]) {
            let bits = above(&dots, rows, &reach, threshold);
            let out: Vec<bool> = (0..count).map(|i| bits >> i & 1 == 1).collect();
            let expected = scalar::above(&dots, rows, &reach, threshold);
            check!(out == expected, "{count} rows above {threshold}: {out:?}, not {expected:?}");
            check!(count == 64 || bits >> count == 0, "{count} rows: {bits:b}");
        }
    }
    Ok(())
}

/// Rows around a center, as a search has them.
fn signed_rows(
    numbers: &mut Numbers,
    count: usize,
    dimension: usize,
) -> (Vec<i8>, Vec<f32>, Vec<u64>) {
    let rows: Vec<i8> =
        numbers.below(255, count * dimension).iter().map(|&x| (i16::from(x) - 127) as i8).collect();
    let center: Vec<f32> = numbers.floats(dimension).iter().map(|x| x * 0.25).collect();
    let words = bit_words(dimension);
    let mut signs = vec![u64::MAX; count * words];
    for (row, signs) in rows.chunks_exact(dimension).zip(signs.chunks_exact_mut(words)) {
        sign_bits(row, 0.01, &center, signs);
    }
    (rows, center, signs)
}

fn bit_dot_gives_the_same_integers() -> Result<(), String> {
    let mut numbers = Numbers(13);
    for (count, dimension) in scans() {
        let (rows, center, signs) = signed_rows(&mut numbers, count, dimension);
        let query: Vec<i8> = numbers.below(16, dimension).iter().map(|&x| x as i8 - 8).collect();
        let mut out = vec![i32::MIN; count];
        bit_dot(&signs, &bit_planes(&query), &mut out);
        let expected = scalar::bit_dot(&rows, 0.01, &center, &query);
        check!(out == expected, "{count} x {dimension}: {out:?}, not {expected:?}");
    }
    Ok(())
}

/// For the row itself, the estimate of its own product is exact.
fn sign_bits_estimate_products() -> Result<(), String> {
    let mut numbers = Numbers(14);
    for dimension in [1, 7, 64, 100, 384] {
        let (rows, center, _) = signed_rows(&mut numbers, 3, dimension);
        for row in rows.chunks_exact(dimension) {
            let mut signs = vec![0; bit_words(dimension)];
            let SignRow { factor, along } = sign_bits(row, 0.01, &center, &mut signs);
            let difference: Vec<f64> = row
                .iter()
                .zip(&center)
                .map(|(&x, &center)| f64::from(x) * 0.01 - f64::from(center))
                .collect();
            let sizes: f64 = difference.iter().map(|x| x.abs()).sum();
            let squares: f64 = difference.iter().map(|x| x * x).sum();
            let error = (f64::from(factor) * sizes - squares).abs();
            check!(
                error <= 1e-4 * squares.max(1e-3),
                "{dimension}: {factor} times {sizes} is not {squares}"
            );
            let product: f64 =
                difference.iter().zip(&center).map(|(x, &center)| x * f64::from(center)).sum();
            let error = (f64::from(along) - product).abs();
            check!(error <= 1e-4, "{dimension}: along the center {along}, not {product}");
        }
    }
    let zero = sign_bits(&[0; 5], 0.01, &[0.0; 5], &mut [0]);
    check!(zero == SignRow::default(), "of zeros: {zero:?}");
    Ok(())
}
