//! The kernels' tests and timings as a wasm module without any imports but a clock, for pages of
//! `tests/`. Built by `cargo xtask build`.

#![cfg(target_arch = "wasm32")]
#![expect(clippy::unwrap_used, reason = "a lock in one thread")]

use std::slice;
use std::sync::Mutex;

use embervec_kernels::*;

#[path = "../tests/tester/mod.rs"]
mod tester;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    /// `performance.now()`, in milliseconds.
    safe fn now() -> f64;
}

static MESSAGE: Mutex<String> = Mutex::new(String::new());

/// Runs a check; 0: passed, 1: [`message`] says what is wrong, 2: there is no such check.
#[unsafe(no_mangle)]
extern "C" fn check(index: usize) -> u32 {
    let Some((name, check)) = tester::CHECKS.get(index) else { return 2 };
    let result = check();
    *MESSAGE.lock().unwrap() = match &result {
        Ok(()) => (*name).to_string(),
        Err(problem) => format!("{name}: {problem}"),
    };
    u32::from(result.is_err())
}

/// To be called some 50 ms before [`select`].
#[unsafe(no_mangle)]
extern "C" fn warm_up() {
    Selection::warm_up(|| now());
}

/// Measures and installs the fastest variants; [`message`] names them.
#[unsafe(no_mangle)]
extern "C" fn select() {
    let selection = Selection::measure(|| now());
    selection.install();
    *MESSAGE.lock().unwrap() = format!("{:?} {:?}", selection.f32_tile, selection.q8_tile);
}

/// Address of the message.
#[unsafe(no_mangle)]
extern "C" fn message() -> *const u8 {
    MESSAGE.lock().unwrap().as_ptr()
}

/// Length of the message in bytes.
#[unsafe(no_mangle)]
extern "C" fn message_len() -> usize {
    MESSAGE.lock().unwrap().len()
}

/// A layer with some weights in both forms.
struct Layer {
    f32: Vec<f32>,
    q8: PackedQ8,
    in_features: usize,
    out_features: usize,
}

impl Layer {
    fn new(in_features: usize, out_features: usize) -> Self {
        let weight: Vec<f32> =
            (0..out_features * in_features).map(|i| (i % 13) as f32 / 100.0 - 0.06).collect();
        let bias = vec![0.5; out_features];
        let mut values = Vec::new();
        let rows: Vec<_> =
            weight.chunks(in_features).map(|row| quantize_weights(row, &mut values)).collect();
        Self {
            f32: pack_f32(&weight, &bias, in_features),
            q8: pack_q8(&values, &rows, &bias, in_features),
            in_features,
            out_features,
        }
    }

    fn of(&self, q8: bool) -> Linear<'_> {
        let weights = match q8 {
            true => LinearWeights::Q8 { panels: &self.q8.panels, params: &self.q8.params },
            false => LinearWeights::F32(&self.f32),
        };
        Linear { weights, in_features: self.in_features, out_features: self.out_features }
    }
}

fn rows(count: usize, size: usize) -> Vec<f32> {
    (0..count * size).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect()
}

/// Milliseconds of the fastest of `rounds` linear layers of this shape: with `f32` weights, or with
/// 7-bit weights; with GELU, or without.
#[unsafe(no_mangle)]
extern "C" fn time_linear(
    q8: bool,
    gelu: bool,
    m: usize,
    n: usize,
    k: usize,
    rounds: usize,
) -> f64 {
    let activation = if gelu { Activation::Gelu } else { Activation::Identity };
    let (x, layer) = (rows(m, k), Layer::new(k, n));
    let mut out = vec![0.0; m * n];
    fastest(rounds, || linear(&x, layer.of(q8), activation, &mut out))
}

/// Milliseconds of the fastest of `rounds` self-attentions over one text, with the layer that makes queries,
/// keys and values.
#[unsafe(no_mangle)]
extern "C" fn time_self_attention(
    q8: bool,
    tokens: usize,
    heads: usize,
    head_size: usize,
    rounds: usize,
) -> f64 {
    let size = heads * head_size;
    let (x, qkv) = (rows(tokens, size), Layer::new(size, 3 * size));
    let text = 0..tokens;
    let mut out = vec![0.0; tokens * size];
    fastest(rounds, || {
        let relative = Relative::default();
        self_attention(&x, qkv.of(q8), slice::from_ref(&text), heads, None, relative, &mut out);
    })
}

/// Milliseconds of the fastest of `rounds` feed-forward blocks.
#[unsafe(no_mangle)]
extern "C" fn time_feed_forward(
    q8: bool,
    tokens: usize,
    size: usize,
    width: usize,
    rounds: usize,
) -> f64 {
    let x = rows(tokens, size);
    let (intermediate, output) = (Layer::new(size, width), Layer::new(width, size));
    let mut out = vec![0.0; tokens * size];
    fastest(rounds, || {
        feed_forward(&x, intermediate.of(q8), None, output.of(q8), Activation::Gelu, &mut out)
    })
}

/// Milliseconds of the fastest of `rounds` attentions over one text.
#[unsafe(no_mangle)]
extern "C" fn time_attention(tokens: usize, heads: usize, head_size: usize, rounds: usize) -> f64 {
    let hidden = heads * head_size;
    let (qkv, text) = (rows(tokens, 3 * hidden), 0..tokens);
    let mut out = vec![0.0; tokens * hidden];
    fastest(rounds, || {
        let relative = Relative::default();
        attention(&qkv, slice::from_ref(&text), heads, head_size, relative, &mut out, hidden);
    })
}

/// Milliseconds of the fastest of `rounds` layer normalisations with a residual.
#[unsafe(no_mangle)]
extern "C" fn time_layer_norm(count: usize, size: usize, rounds: usize) -> f64 {
    let x = rows(count, size);
    let mut out = vec![0.0; count * size];
    let weight = vec![1.0; size];
    fastest(rounds, || layer_norm(&x, Some(&x), &weight, &weight, 1e-12, &mut out))
}

/// Milliseconds of the fastest of `rounds` scans of 8-bit rows.
#[unsafe(no_mangle)]
extern "C" fn time_i8_dot(count: usize, dimension: usize, rounds: usize) -> f64 {
    let rows: Vec<i8> = (0..count * dimension).map(|i| (i % 251) as i8).collect();
    let query: Vec<i16> = (0..dimension).map(|i| (i % 401) as i16 - 200).collect();
    let mut out = vec![0; count];
    fastest(rounds, || i8_dot(&rows, &query, &mut out))
}

/// Milliseconds of the fastest of `rounds` scans of rows of one bit a dimension.
#[unsafe(no_mangle)]
extern "C" fn time_bit_dot(count: usize, dimension: usize, rounds: usize) -> f64 {
    let rows: Vec<u64> = (0..(count * bit_words(dimension)) as u64)
        .map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .collect();
    let planes = bit_planes(&(0..dimension).map(|i| (i % 15) as i8 - 7).collect::<Vec<_>>());
    let mut out = vec![0; count];
    fastest(rounds, || bit_dot(&rows, &planes, &mut out))
}

/// Of a few runs in a row, so that the clock's step of up to 0.1 ms does not count.
fn fastest(rounds: usize, mut run: impl FnMut()) -> f64 {
    let start = now();
    run();
    let repeats = ((2.0 / (now() - start).max(0.01)) as usize).clamp(1, 500);
    (0..rounds).fold(f64::INFINITY, |fastest, _| {
        let start = now();
        for _ in 0..repeats {
            run();
        }
        fastest.min((now() - start) / repeats as f64)
    })
}
