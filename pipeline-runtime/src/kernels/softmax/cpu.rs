//! Softmax of one row a vector at a time.

use crate::kernels::simd::{Kernel, Products, Simd, exp};

/// x = softmax(x); results in ln Σ e^x.
pub(crate) struct SoftmaxRow<'a> {
    pub(crate) x: &'a mut [f32],
}

impl Kernel for SoftmaxRow<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> f32 {
        let highest = largest(simd, self.x);
        if highest == f32::NEG_INFINITY {
            self.x.fill(0.0);
            return f32::NEG_INFINITY;
        }
        let sum = exponentials(simd, self.x, highest);
        let factor = simd.splat(1.0 / sum);
        for x in self.x.chunks_mut(S::LANES) {
            simd.store_short(x, simd.multiply(simd.load_short(x), factor));
        }
        highest + sum.ln()
    }
}

/// The largest element, at most the largest finite number; negative infinity if there is none but NaN.
#[inline(always)]
pub(crate) fn largest<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut most = simd.splat(f32::NEG_INFINITY);
    let mut vectors = x.chunks_exact(S::LANES);
    for x in &mut vectors {
        // In this order NaN is passed over.
        most = simd.maximum(simd.load_slice(x), most);
    }
    let rest = vectors.remainder().iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
    simd.largest(most).max(rest).min(f32::MAX)
}

/// x = e^(x - highest), zero where x is NaN; results in the sum.
#[inline(always)]
pub(crate) fn exponentials<S: Simd>(simd: S, x: &mut [f32], highest: f32) -> f32 {
    let (highest, lowest) = (simd.splat(highest), simd.splat(f32::NEG_INFINITY));
    let mut sum = simd.zero();
    let mut vectors = x.chunks_exact_mut(S::LANES);
    for x in &mut vectors {
        let value = simd.minimum(simd.maximum(simd.load_slice(x), lowest), highest);
        let value = exp(simd, simd.subtract(value, highest));
        simd.store_slice(x, value);
        sum = simd.add(sum, value);
    }
    let rest = vectors.into_remainder();
    let value = simd.minimum(simd.maximum(simd.load_short(rest), lowest), highest);
    simd.store_short(rest, exp(simd, simd.subtract(value, highest)));
    simd.sum(sum) + rest.iter().sum::<f32>()
}
