//! `exp`, the error function and the activations.

use crate::simd::F32x4;

/// A function's constants, in variables. What LLVM writes as a constant V8 makes anew for every vector,
/// in several instructions, and does not move out of the loop; what is loaded from where LLVM cannot
/// see stays outside. A pass over `exp` takes half the time.
#[inline(always)]
fn splat_all<const N: usize>(constants: &[f32; N]) -> [F32x4; N] {
    std::hint::black_box(constants).map(F32x4::splat)
}

/// `e^x` for `x <= 88`; 0 below -87. Relative error at most 2e-7.
///
/// `e^x = 2^n · e^r` with `n` the integer nearest to `x / ln 2` and `|r| <= ln 2 / 2`; the polynomial
/// and the split of `ln 2` are those of Cephes' `expf` (<https://www.netlib.org/cephes/>).
pub(crate) struct Exp {
    lowest: F32x4,
    log2_e: F32x4,
    magic: F32x4,
    minus_ln_2: [F32x4; 2],
    polynomial: [F32x4; 6],
    one: F32x4,
}

impl Exp {
    #[inline(always)]
    pub fn new() -> Self {
        let [lowest, log2_e, magic, ln_2_high, ln_2_low, one] = splat_all(&[
            // e^-87 = 1.6e-38 is the last normal number; everything below becomes that, not a
            // denormal.
            -87.0,
            std::f32::consts::LOG2_E,
            // As in `F32x4::round`.
            12_582_912.0,
            -0.693_359_4,
            2.121_944_4e-4,
            1.0,
        ]);
        let polynomial = splat_all(&[
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            5e-1,
        ]);
        Self { lowest, log2_e, magic, minus_ln_2: [ln_2_high, ln_2_low], polynomial, one }
    }

    #[inline(always)]
    pub fn of(&self, x: F32x4) -> F32x4 {
        // In this order NaN stays.
        let x = x.max(self.lowest);
        // The last bits of this are n.
        let n = x.mul_add(self.log2_e, self.magic);
        let whole = n.sub(self.magic);
        let [high, low] = self.minus_ln_2;
        let r = whole.mul_add(low, whole.mul_add(high, x));
        let [p5, rest @ ..] = self.polynomial;
        let p = rest.into_iter().fold(p5, |p, coefficient| p.mul_add(r, coefficient));
        p.mul_add(r.mul(r), r).add(self.one).times_exp2(n.to_bits())
    }
}

/// `x / (1 + e^-(a x + b x³))`: SiLU with `a = 1` and `b = 0`, and the tanh approximation of GELU, because
/// `(1 + tanh(u)) / 2 = 1 / (1 + e^-2u)`.
pub(crate) struct Gated {
    exp: Exp,
    minus_a: F32x4,
    minus_b: F32x4,
    highest: F32x4,
}

impl Gated {
    #[inline(always)]
    pub fn new(a: f32, b: f32) -> Self {
        // Beyond, nothing is left of x in f32.
        let [minus_a, minus_b, highest] = splat_all(&[-a, -b, 88.0]);
        Self { exp: Exp::new(), minus_a, minus_b, highest }
    }

    #[inline(always)]
    pub fn of(&self, x: F32x4) -> F32x4 {
        // Not x² b: where b is 0, that is no number for the largest x.
        let exponent = x.mul(self.minus_b).mul_add(x, self.minus_a).mul(x);
        x.div(self.exp.of(exponent.min(self.highest)).add(self.exp.one))
    }
}

/// `x · Φ(x) = max(x, 0) − |x| · Φ(−|x|)`. Absolute error at most 4e-7.
///
/// The second term is approximated on its own, so that nothing cancels: as `z · P(z) / Q(z)` up to
/// `z = 5.6`, fitted to the smallest largest error (1.7e-7); beyond, it is below 6e-8.
pub(crate) struct Gelu {
    farthest: F32x4,
    p: [F32x4; 6],
    q: [F32x4; 8],
}

impl Gelu {
    #[inline(always)]
    pub fn new() -> Self {
        let [farthest] = splat_all(&[5.6]);
        let p = splat_all(&[
            -1.433_204_3e-4,
            3.624_847_4e-3,
            -3.683_634e-2,
            0.188_145_55,
            -0.483_348_28,
            0.500_009_7,
        ]);
        let q = splat_all(&[
            8.823_486e-4,
            -2.529_391_8e-3,
            8.927_867e-3,
            1.063_612_5e-2,
            -8.419_321e-3,
            0.239_614_72,
            -0.168_454_17,
            1.0,
        ]);
        Self { farthest, p, q }
    }

    #[inline(always)]
    pub fn of(&self, x: F32x4) -> F32x4 {
        let zero = F32x4::splat(0.0);
        let z = x.max(zero.sub(x)).min(self.farthest);
        let [p5, p_rest @ ..] = self.p;
        let [q7, q_rest @ ..] = self.q;
        let p = p_rest.into_iter().fold(p5, |p, coefficient| p.mul_add(z, coefficient));
        let q = q_rest.into_iter().fold(q7, |q, coefficient| q.mul_add(z, coefficient));
        // x - x is 0, or NaN for what is not finite: `max` would hide it.
        zero.max(x).sub(z.mul(p).div(q)).add(x.sub(x))
    }
}
