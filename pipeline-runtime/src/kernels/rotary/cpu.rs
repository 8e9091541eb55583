//! The rotation of one token a vector at a time.

use crate::kernels::simd::{Kernel, Products};

/// Rotates the leading `2 · cos.len()` elements of every head.
pub(super) struct Rotate<'a> {
    /// (heads, head_dim)
    pub(super) x: &'a mut [f32],
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    pub(super) head_dim: usize,
}

impl Kernel for Rotate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        let half = self.cos.len();
        if half == 0 {
            return;
        }
        for head in self.x.chunks_exact_mut(self.head_dim) {
            let (first, second) = head[..2 * half].split_at_mut(half);
            let angles = self.cos.chunks(S::LANES).zip(self.sin.chunks(S::LANES));
            let elements = first.chunks_mut(S::LANES).zip(second.chunks_mut(S::LANES));
            for ((first, second), (cos, sin)) in elements.zip(angles) {
                let (a, b) = (simd.load_short(first), simd.load_short(second));
                let (cos, sin) = (simd.load_short(cos), simd.load_short(sin));
                let minus_sin = simd.subtract(simd.zero(), sin);
                simd.store_short(first, simd.multiply_add(a, cos, simd.multiply(b, minus_sin)));
                simd.store_short(second, simd.multiply_add(b, cos, simd.multiply(a, sin)));
            }
        }
    }
}
