//! In place of [inventory](https://docs.rs/inventory), with which CubeCL's compiler (`pliron`) registers its parts in thousands
//! of static constructors. Our GPU kernels are WGSL already and pass the compiler by, but what a constructor
//! refers to is linked, and wasm-ld runs all constructors with every call from JavaScript.
//!
//! With an empty registry the GPU's artefact has 1.4 MB instead of 4.1 (411 kB of brotli instead of 885), and a launch takes
//! 0.1 ms instead of 5. A kernel that did need the compiler would fail at once, in every test.

/// Registers nothing.
#[macro_export]
macro_rules! submit {
    ($($value:tt)*) => {};
}

/// Collects nothing.
#[macro_export]
macro_rules! collect {
    ($type:ty) => {};
}

/// All registered values of a type: none.
pub fn iter<T: 'static>() -> std::iter::Empty<&'static T> {
    std::iter::empty()
}
