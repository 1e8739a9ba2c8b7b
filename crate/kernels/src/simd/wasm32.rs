use core::arch::wasm32::*;

/// Four `f32`.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(pub v128);

/// Four `i32`.
#[derive(Clone, Copy)]
pub(crate) struct I32x4(pub v128);

/// Eight `i16`.
#[derive(Clone, Copy)]
pub(crate) struct I16x8(v128);

impl F32x4 {
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        Self(f32x4_splat(x))
    }

    #[inline(always)]
    pub fn load(from: &[f32; 4]) -> Self {
        // SAFETY: `from` is 16 readable bytes; v128.load needs no alignment.
        Self(unsafe { v128_load(from.as_ptr().cast()) })
    }

    #[inline(always)]
    pub fn store(self, to: &mut [f32; 4]) {
        // SAFETY: `to` is 16 writable bytes; v128.store needs no alignment.
        unsafe { v128_store(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        let mut lanes = [0.0; 4];
        self.store(&mut lanes);
        lanes
    }

    #[inline(always)]
    pub fn add(self, other: Self) -> Self {
        Self(f32x4_add(self.0, other.0))
    }

    #[inline(always)]
    pub fn sub(self, other: Self) -> Self {
        Self(f32x4_sub(self.0, other.0))
    }

    #[inline(always)]
    pub fn mul(self, other: Self) -> Self {
        Self(f32x4_mul(self.0, other.0))
    }

    #[inline(always)]
    pub fn div(self, other: Self) -> Self {
        Self(f32x4_div(self.0, other.0))
    }

    /// The smaller one; `self` where they cannot be compared. One instruction on x86-64, where
    /// `f32x4.min` is seven (onnxruntime#24324).
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        Self(f32x4_pmin(self.0, other.0))
    }

    /// The larger one; `self` where they cannot be compared.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(f32x4_pmax(self.0, other.0))
    }

    /// Which lanes are larger, the first one in the lowest bit.
    #[inline(always)]
    pub fn greater(self, other: Self) -> u8 {
        i32x4_bitmask(f32x4_gt(self.0, other.0))
    }

    /// The bits.
    #[inline(always)]
    pub fn to_bits(self) -> I32x4 {
        I32x4(self.0)
    }

    /// `self * 2^n`, with `n` the last 9 bits of `exponent`. Neither `self` nor the result may be 0,
    /// denormal or not finite.
    #[inline(always)]
    pub fn times_exp2(self, exponent: I32x4) -> Self {
        Self(i32x4_add(self.0, i32x4_shl(exponent.0, 23)))
    }

    /// The bits without the sign: ordered like the absolute values, and larger for what is not finite.
    #[inline(always)]
    pub fn abs_bits(self) -> I32x4 {
        I32x4(v128_and(self.0, i32x4_splat(0x7FFF_FFFF)))
    }
}

impl I32x4 {
    #[inline(always)]
    pub fn splat(x: i32) -> Self {
        Self(i32x4_splat(x))
    }

    #[inline(always)]
    pub fn load(from: &[i32; 4]) -> Self {
        // SAFETY: `from` is 16 readable bytes; v128.load needs no alignment.
        Self(unsafe { v128_load(from.as_ptr().cast()) })
    }

    #[inline(always)]
    pub fn to_array(self) -> [i32; 4] {
        let mut lanes = [0; 4];
        // SAFETY: `lanes` is 16 writable bytes; v128.store needs no alignment.
        unsafe { v128_store(lanes.as_mut_ptr().cast(), self.0) }
        lanes
    }

    #[inline(always)]
    pub fn add(self, other: Self) -> Self {
        Self(i32x4_add(self.0, other.0))
    }

    #[inline(always)]
    pub fn sub(self, other: Self) -> Self {
        Self(i32x4_sub(self.0, other.0))
    }

    #[inline(always)]
    pub fn mul(self, other: Self) -> Self {
        Self(i32x4_mul(self.0, other.0))
    }

    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(i32x4_max(self.0, other.0))
    }

    #[inline(always)]
    pub fn to_f32(self) -> F32x4 {
        F32x4(f32x4_convert_i32x4(self.0))
    }

    /// 16 values of -128 to 127 as bytes.
    #[cfg(feature = "relaxed")]
    #[inline(always)]
    pub fn store_i8([a, b, c, d]: [Self; 4], to: &mut [i8; 16]) {
        let bytes = i8x16_narrow_i16x8(i16x8_narrow_i32x4(a.0, b.0), i16x8_narrow_i32x4(c.0, d.0));
        // SAFETY: `to` is 16 writable bytes; v128.store needs no alignment.
        unsafe { v128_store(to.as_mut_ptr().cast(), bytes) }
    }

    /// 16 values of -128 to 127 as 16-bit integers.
    #[cfg(not(feature = "relaxed"))]
    #[inline(always)]
    pub fn store_i16([a, b, c, d]: [Self; 4], to: &mut [i16; 16]) {
        let to = to.as_mut_ptr().cast::<v128>();
        // SAFETY: `to` is 32 writable bytes; v128.store needs no alignment.
        unsafe {
            v128_store(to, i16x8_narrow_i32x4(a.0, b.0));
            v128_store(to.add(1), i16x8_narrow_i32x4(c.0, d.0));
        }
    }
}

impl I16x8 {
    #[inline(always)]
    pub fn load_pair(from: &[i16; 16]) -> [Self; 2] {
        let from = from.as_ptr().cast::<v128>();
        // SAFETY: `from` is 32 readable bytes; v128.load needs no alignment.
        unsafe { [Self(v128_load(from)), Self(v128_load(from.add(1)))] }
    }

    #[inline(always)]
    pub fn load_i8_pair(from: &[i8; 16]) -> [Self; 2] {
        let from = from.as_ptr();
        // SAFETY: `from` is 16 readable bytes; v128.load8x8_s needs no alignment.
        unsafe { [Self(i16x8_load_extend_i8x8(from)), Self(i16x8_load_extend_i8x8(from.add(8)))] }
    }

    /// The products of all lanes, each two neighbours added up.
    #[inline(always)]
    pub fn dot(self, other: Self) -> I32x4 {
        I32x4(i32x4_dot_i16x8(self.0, other.0))
    }
}
