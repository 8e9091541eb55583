//! Functions of vectors.

use super::Simd;

/// e^x, relative error below 2e-7: 2^n · e^r with |r| <= ln 2 / 2 and a polynomial of degree 7 for e^r (Cephes).
/// Zero below -87.33, infinity above 88.37, NaN of NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    const COEFFICIENTS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // ln 2 in two parts, the first short enough that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let (lowest, highest) = (simd.splat(-87.33), simd.splat(88.37));
    // In this order NaN comes through both.
    let clamped = simd.minimum(highest, simd.maximum(lowest, x));
    let n = simd.round(simd.multiply(clamped, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.multiply_add(n, simd.splat(-LN_2_HIGH), clamped);
    let r = simd.multiply_add(n, simd.splat(-LN_2_LOW), r);
    let mut polynomial = simd.splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        polynomial = simd.multiply_add(polynomial, r, simd.splat(*coefficient));
    }
    let polynomial = simd.multiply_add(polynomial, simd.multiply(r, r), simd.add(r, simd.splat(1.0)));
    let result = simd.multiply(polynomial, simd.power_of_two(n));
    let result = simd.select_less(x, lowest, simd.zero(), result);
    simd.select_less(highest, x, simd.splat(f32::INFINITY), result)
}

/// x / (1 + e^-x)
#[inline(always)]
pub(crate) fn silu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let one = simd.splat(1.0);
    simd.divide(x, simd.add(one, exp(simd, simd.subtract(simd.zero(), x))))
}
