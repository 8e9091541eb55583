//! Normalisation of one row a vector at a time.

use crate::kernels::simd::{Kernel, Products, Simd};

/// y = x / sqrt(mean(x²) + epsilon) · weight; all of one length.
pub(super) struct RmsNorm<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) epsilon: f32,
    pub(super) y: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        let mut sums = [simd.zero(); 4];
        let mut quads = self.x.chunks_exact(4 * S::LANES);
        for quad in &mut quads {
            for (sum, x) in sums.iter_mut().zip(quad.chunks_exact(S::LANES)) {
                let x = simd.load_slice(x);
                *sum = simd.multiply_add(x, x, *sum);
            }
        }
        for x in quads.remainder().chunks(S::LANES) {
            let x = simd.load_short(x);
            sums[0] = simd.multiply_add(x, x, sums[0]);
        }
        let sum = simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])));
        scale(simd, self.x, self.weight, inverse_root(sum, self.x.len(), self.epsilon), self.y);
    }
}

/// residual += x; y = residual / sqrt(mean(residual²) + epsilon) · weight; all of one length.
pub(super) struct AddRmsNorm<'a> {
    pub(super) residual: &'a mut [f32],
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) epsilon: f32,
    pub(super) y: &'a mut [f32],
}

impl Kernel for AddRmsNorm<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        let mut sums = [simd.zero(); 4];
        let quads = self.residual.chunks_mut(4 * S::LANES).zip(self.x.chunks(4 * S::LANES));
        for (residual, x) in quads {
            let vectors = residual.chunks_mut(S::LANES).zip(x.chunks(S::LANES));
            for (sum, (residual, x)) in sums.iter_mut().zip(vectors) {
                let total = simd.add(simd.load_short(residual), simd.load_short(x));
                simd.store_short(residual, total);
                *sum = simd.multiply_add(total, total, *sum);
            }
        }
        let sum = simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])));
        scale(simd, self.residual, self.weight, inverse_root(sum, self.x.len(), self.epsilon), self.y);
    }
}

/// 1 / sqrt(sum / width + epsilon)
#[inline(always)]
fn inverse_root(sum: f32, width: usize, epsilon: f32) -> f32 {
    1.0 / (sum / width as f32 + epsilon).sqrt()
}

/// y = x · factor · weight
#[inline(always)]
fn scale<S: Simd>(simd: S, x: &[f32], weight: &[f32], factor: f32, y: &mut [f32]) {
    let factor = simd.splat(factor);
    let (mut xs, mut weights) = (x.chunks_exact(S::LANES), weight.chunks_exact(S::LANES));
    let mut ys = y.chunks_exact_mut(S::LANES);
    for ((x, weight), y) in (&mut xs).zip(&mut weights).zip(&mut ys) {
        let normalised = simd.multiply(simd.load_slice(x), factor);
        simd.store_slice(y, simd.multiply(normalised, simd.load_slice(weight)));
    }
    let normalised = simd.multiply(simd.load_short(xs.remainder()), factor);
    let result = simd.multiply(normalised, simd.load_short(weights.remainder()));
    simd.store_short(ys.into_remainder(), result);
}
