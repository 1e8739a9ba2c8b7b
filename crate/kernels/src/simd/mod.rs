//! Four lanes at a time: `F32x4` and `I32x4`, in SIMD128 or in plain arrays.
//!
//! Every operation rounds like its scalar counterpart (no fused multiply-add here), so both give
//! the same bits.

#[cfg(not(target_arch = "wasm32"))]
mod portable;
#[cfg(target_arch = "wasm32")]
mod wasm32;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use portable::{F32x4, I32x4};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm32::{F32x4, I32x4};

/// Lanes of a vector.
pub(crate) const LANES: usize = 4;

impl F32x4 {
    /// `self * b + c`, rounded twice.
    #[inline(always)]
    pub fn mul_add(self, b: Self, c: Self) -> Self {
        self.mul(b).add(c)
    }

    /// The sum of the lanes, in a fixed order.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        (a + c) + (b + d)
    }

    #[inline(always)]
    pub fn largest(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        a.max(b).max(c.max(d))
    }

    #[inline(always)]
    pub fn smallest(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        a.min(b).min(c.min(d))
    }
}
