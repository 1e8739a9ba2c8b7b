//! The encoder and the index for JavaScript. Only types are translated here.
//!
//! Every function throws a JavaScript `Error` with a `code` of the package's `EmbervecError`. A Rust
//! panic is one with `fatal: true`: the instance must not be used any more.

#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "search")]
mod search;
#[cfg(feature = "webgpu")]
mod webgpu;

use std::panic;

use js_sys::Reflect;
use wasm_bindgen::prelude::*;

type Result<T> = std::result::Result<T, JsValue>;

/// Makes a panic reach the caller as an error instead of as `unreachable`.
#[wasm_bindgen(start)]
pub fn start() {
    panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        let error = js_error("internal", &format!("embervec panicked: {info}"));
        set(&error, "fatal", &JsValue::TRUE);
        wasm_bindgen::throw_val(error.into());
    }));
}

fn js_error(code: &str, message: &str) -> js_sys::Error {
    let error = js_sys::Error::new(message);
    set(&error, "code", &JsValue::from(code));
    error
}

/// Setting a property of a fresh object cannot fail.
fn set(object: &JsValue, name: &str, value: &JsValue) {
    let _ = Reflect::set(object, &JsValue::from(name), value);
}
