//! A vector at a time: `F32x4`, `I32x4` and `I16x8`, in SIMD128 or in plain arrays.
//!
//! Every operation rounds like its scalar counterpart, but for [`F32x4::mul_add`] in a build with
//! relaxed SIMD.

#[cfg(not(target_arch = "wasm32"))]
mod portable;
#[cfg(target_arch = "wasm32")]
mod wasm32;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use portable::{F32x4, I16x8, I32x4};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm32::{F32x4, I16x8, I32x4};

/// Lanes of a vector of 32-bit values.
pub(crate) const LANES: usize = 4;

impl F32x4 {
    /// `self * b + c`: rounded twice, or as the machine likes in a build with relaxed SIMD. There it is
    /// to be called within functions that have the target feature, or it is a call of its own.
    #[inline(always)]
    pub fn mul_add(self, b: Self, c: Self) -> Self {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
        return Self(core::arch::wasm32::f32x4_relaxed_madd(self.0, b.0, c.0));
        #[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
        self.mul(b).add(c)
    }

    /// The nearest integer, ties to even, for `|self| < 2^22`: the sum with 1.5 · 2^23 has no room for
    /// fractions, and its last bits are the integer. Two instructions, where `i32x4.trunc_sat_f32x4_s`
    /// alone is eight on x86-64.
    #[inline(always)]
    pub fn round(self) -> I32x4 {
        const MAGIC: f32 = 12_582_912.0;
        self.add(Self::splat(MAGIC)).to_bits().sub(I32x4::splat(MAGIC.to_bits() as i32))
    }

    /// The sum of the lanes, in a fixed order.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        (a + c) + (b + d)
    }
}

impl I32x4 {
    #[inline(always)]
    pub fn largest(self) -> i32 {
        let [a, b, c, d] = self.to_array();
        a.max(b).max(c.max(d))
    }

    /// The sum of the lanes.
    #[inline(always)]
    pub fn sum(self) -> i32 {
        self.to_array().iter().sum()
    }
}
