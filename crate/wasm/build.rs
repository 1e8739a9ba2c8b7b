//! Keeps the GPU's artefact from running its static constructors.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // There are thousands: CubeCL's compiler, which our own WGSL passes by, registers each of its parts. The linker makes
    // every exported function run them all anew, 5 ms for each call from JavaScript, unless they are exported. wasm-opt
    // then removes the export, and with it all that only they refer to.
    if env::var_os("CARGO_FEATURE_WEBGPU").is_some() {
        println!("cargo::rustc-link-arg-cdylib=--export-if-defined=__wasm_call_ctors");
    }
}
