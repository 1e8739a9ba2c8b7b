use std::array::from_fn;

/// Four `f32`.
#[derive(Clone, Copy)]
pub(crate) struct F32x4([f32; 4]);

/// Four `i32`.
#[derive(Clone, Copy)]
pub(crate) struct I32x4([i32; 4]);

/// Eight `i16`.
#[derive(Clone, Copy)]
pub(crate) struct I16x8([i16; 8]);

impl F32x4 {
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    pub fn load(from: &[f32; 4]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    pub fn store(self, to: &mut [f32; 4]) {
        *to = self.0;
    }

    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        self.0
    }

    #[inline(always)]
    pub fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] + other.0[i]))
    }

    #[inline(always)]
    pub fn sub(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] - other.0[i]))
    }

    #[inline(always)]
    pub fn mul(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] * other.0[i]))
    }

    #[inline(always)]
    pub fn div(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] / other.0[i]))
    }

    /// The smaller one; `self` where they cannot be compared.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        Self(from_fn(|i| if other.0[i] < self.0[i] { other.0[i] } else { self.0[i] }))
    }

    /// The larger one; `self` where they cannot be compared.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(from_fn(|i| if self.0[i] < other.0[i] { other.0[i] } else { self.0[i] }))
    }

    /// Which lanes are larger, the first one in the lowest bit.
    #[inline(always)]
    pub fn greater(self, other: Self) -> u8 {
        (0..4).fold(0, |bits, i| bits | u8::from(self.0[i] > other.0[i]) << i)
    }

    /// The bits.
    #[inline(always)]
    pub fn to_bits(self) -> I32x4 {
        I32x4(self.0.map(|x| x.to_bits() as i32))
    }

    /// `self * 2^n`, with `n` the last 9 bits of `exponent`. Neither `self` nor the result may be 0,
    /// denormal or not finite.
    #[inline(always)]
    pub fn times_exp2(self, exponent: I32x4) -> Self {
        let add = |x: f32, n: i32| f32::from_bits(x.to_bits().wrapping_add((n as u32) << 23));
        Self(from_fn(|i| add(self.0[i], exponent.0[i])))
    }

    /// The bits without the sign: ordered like the absolute values, and larger for what is not finite.
    #[inline(always)]
    pub fn abs_bits(self) -> I32x4 {
        I32x4(self.0.map(|x| x.abs().to_bits() as i32))
    }
}

impl I32x4 {
    #[inline(always)]
    pub fn splat(x: i32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    pub fn load(from: &[i32; 4]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    pub fn to_array(self) -> [i32; 4] {
        self.0
    }

    #[inline(always)]
    pub fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }

    #[inline(always)]
    pub fn sub(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_sub(other.0[i])))
    }

    #[inline(always)]
    pub fn mul(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_mul(other.0[i])))
    }

    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i].max(other.0[i])))
    }

    #[inline(always)]
    pub fn to_f32(self) -> F32x4 {
        F32x4(self.0.map(|x| x as f32))
    }

    /// 16 values of -128 to 127 as bytes.
    #[inline(always)]
    pub fn store_i8(values: [Self; 4], to: &mut [i8; 16]) {
        *to = from_fn(|i| values[i / 4].0[i % 4] as i8);
    }
}

impl I16x8 {
    #[inline(always)]
    pub fn load_pair(from: &[i16; 16]) -> [Self; 2] {
        from_fn(|half| Self(from_fn(|i| from[half * 8 + i])))
    }

    #[inline(always)]
    pub fn load_i8_pair(from: &[i8; 16]) -> [Self; 2] {
        Self::load_pair(&from.map(i16::from))
    }

    /// The products of all lanes, each two neighbours added up.
    #[inline(always)]
    pub fn dot(self, other: Self) -> I32x4 {
        let product = |i: usize| i32::from(self.0[i]) * i32::from(other.0[i]);
        I32x4(from_fn(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
    }
}
