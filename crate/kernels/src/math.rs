//! `exp`, the error function and the activations.

use crate::Activation;
use crate::simd::F32x4;

/// `e^x` for `x <= 88`; 0 below -87. Relative error at most 2e-7.
///
/// `e^x = 2^n · e^r` with `n` the integer nearest to `x / ln 2` and `|r| <= ln 2 / 2`; the polynomial
/// and the split of `ln 2` are those of Cephes' `expf` (<https://www.netlib.org/cephes/>).
#[inline(always)]
pub(crate) fn exp(x: F32x4) -> F32x4 {
    let splat = F32x4::splat;
    // e^-87 = 1.6e-38 is the last normal number; everything below becomes that, not a denormal.
    let x = splat(-87.0).max(x);
    let n = x.mul(splat(std::f32::consts::LOG2_E)).round();
    let whole = n.to_f32();
    let r = x.sub(whole.mul(splat(0.693_359_4))).sub(whole.mul(splat(-2.121_944_4e-4)));
    let p = splat(1.987_569_1e-4)
        .mul_add(r, splat(1.398_199_9e-3))
        .mul_add(r, splat(8.333_452e-3))
        .mul_add(r, splat(4.166_579_6e-2))
        .mul_add(r, splat(1.666_666_5e-1))
        .mul_add(r, splat(5e-1));
    p.mul_add(r.mul(r), r).add(splat(1.0)).mul(n.exp2())
}

/// `x · Φ(x) = max(x, 0) − |x| · Φ(−|x|)`. Absolute error at most 4e-7.
///
/// The second term is approximated on its own, so that nothing cancels: as `z · P(z) / Q(z)` up to
/// `z = 5.6`, fitted to the smallest largest error (1.7e-7); beyond, it is below 6e-8.
#[inline(always)]
pub(crate) fn gelu(x: F32x4) -> F32x4 {
    let splat = F32x4::splat;
    let z = x.max(splat(0.0).sub(x)).min(splat(5.6));
    let p = splat(-1.433_204_3e-4)
        .mul_add(z, splat(3.624_847_4e-3))
        .mul_add(z, splat(-3.683_634e-2))
        .mul_add(z, splat(0.188_145_55))
        .mul_add(z, splat(-0.483_348_28))
        .mul_add(z, splat(0.500_009_7));
    let q = splat(8.823_486e-4)
        .mul_add(z, splat(-2.529_391_8e-3))
        .mul_add(z, splat(8.927_867e-3))
        .mul_add(z, splat(1.063_612_5e-2))
        .mul_add(z, splat(-8.419_321e-3))
        .mul_add(z, splat(0.239_614_72))
        .mul_add(z, splat(-0.168_454_17))
        .mul_add(z, splat(1.0));
    // x - x is 0, or NaN for what is not finite: `max` would hide it.
    splat(0.0).max(x).sub(z.mul(p).div(q)).add(x.sub(x))
}

#[inline(always)]
pub(crate) fn activate(x: F32x4, activation: Activation) -> F32x4 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => gelu(x),
        Activation::Tanh => F32x4::load(&x.to_array().map(f32::tanh)),
    }
}
