//! The kernels' tests and timings as a wasm module without any imports but a clock, for pages of
//! `tests/`. Built by `cargo xtask build`.

#![cfg(target_arch = "wasm32")]
#![expect(clippy::unwrap_used, reason = "a lock in one thread")]

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
    Selection::warm_up();
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
    let x: Vec<f32> = (0..m * k).map(|i| (i % 17) as f32 - 8.0).collect();
    let weight: Vec<f32> = (0..n * k).map(|i| (i % 13) as f32 - 6.0).collect();
    let bias = vec![0.5; n];
    let mut out = vec![0.0; m * n];
    let panels = pack_f32(&weight, &bias, k);
    let mut values = Vec::new();
    let rows: Vec<_> = weight.chunks(k).map(|row| quantize_weights(row, &mut values)).collect();
    let packed = pack_q8(&values, &rows, &bias, k);
    fastest(rounds, || match q8 {
        true => {
            linear_q8(&x, &packed.panels, &packed.params, k, n, activation, &mut out);
        }
        false => linear_f32(&x, &panels, k, n, activation, &mut out),
    })
}

/// Milliseconds of the fastest of `rounds` attentions over one text.
#[unsafe(no_mangle)]
extern "C" fn time_attention(tokens: usize, heads: usize, head_size: usize, rounds: usize) -> f64 {
    let hidden = heads * head_size;
    let qkv: Vec<f32> = (0..tokens * 3 * hidden).map(|i| (i % 17) as f32 / 17.0).collect();
    let mut out = vec![0.0; tokens * hidden];
    fastest(rounds, || {
        attention(&qkv, std::iter::once(0..tokens), heads, head_size, &mut out);
    })
}

/// Milliseconds of the fastest of `rounds` layer normalisations with a residual.
#[unsafe(no_mangle)]
extern "C" fn time_layer_norm(rows: usize, size: usize, rounds: usize) -> f64 {
    let x: Vec<f32> = (0..rows * size).map(|i| (i % 17) as f32).collect();
    let mut out = vec![0.0; rows * size];
    let weight = vec![1.0; size];
    fastest(rounds, || layer_norm(&x, Some(&x), &weight, &weight, 1e-12, &mut out))
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
