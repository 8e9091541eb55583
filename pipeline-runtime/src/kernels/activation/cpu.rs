//! Activations a vector at a time.

use crate::kernels::simd::{Kernel, Products, silu};

/// x = silu(x)
pub(super) struct Silu<'a> {
    pub(super) x: &'a mut [f32],
}

impl Kernel for Silu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        let mut vectors = self.x.chunks_exact_mut(S::LANES);
        for x in &mut vectors {
            simd.store_slice(x, silu(simd, simd.load_slice(x)));
        }
        let x = vectors.into_remainder();
        simd.store_short(x, silu(simd, simd.load_short(x)));
    }
}

/// gate = silu(gate) · up; both have one length.
pub(crate) struct SiluMultiply<'a> {
    pub(crate) gate: &'a mut [f32],
    pub(crate) up: &'a [f32],
}

impl Kernel for SiluMultiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        let mut gates = self.gate.chunks_exact_mut(S::LANES);
        let mut ups = self.up.chunks_exact(S::LANES);
        for (gate, up) in (&mut gates).zip(&mut ups) {
            let product = simd.multiply(silu(simd, simd.load_slice(gate)), simd.load_slice(up));
            simd.store_slice(gate, product);
        }
        let gate = gates.into_remainder();
        let product = simd.multiply(silu(simd, simd.load_short(gate)), simd.load_short(ups.remainder()));
        simd.store_short(gate, product);
    }
}
