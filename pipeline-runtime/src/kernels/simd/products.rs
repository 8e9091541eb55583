//! How the elements of weights and activations become operands of products.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{Portable, Simd};

/// An instruction set with what it is best at in products.
pub(crate) trait Products: Simd {
    /// How products of many rows take `bf16` weights.
    type Bf16: Units<Self, Element = bf16>;
    /// Rows of a register tile: 8 where there are 32 registers, else 4. A tile is three vectors wide.
    const TILE_ROWS: usize;
}

impl Products for Portable {
    type Bf16 = WidenedBf16Units;
    const TILE_ROWS: usize = 4;
}

#[cfg(target_arch = "x86_64")]
impl Products for Avx2 {
    type Bf16 = WidenedBf16Units;
    const TILE_ROWS: usize = 4;
}

#[cfg(target_arch = "x86_64")]
impl Products for Avx512<false> {
    type Bf16 = WidenedBf16Units;
    const TILE_ROWS: usize = 8;
}

#[cfg(target_arch = "x86_64")]
impl Products for Avx512<true> {
    type Bf16 = PairedBf16Units;
    const TILE_ROWS: usize = 8;
}

/// An element of a weight matrix, widened to `f32` when it is read.
pub(crate) trait Element: Copy + Send + Sync {
    /// Reads `LANES` elements.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::Vector;
    /// Reads `count <= LANES` elements; the lanes after them are zero.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn load_first<S: Simd>(simd: S, from: *const Self, count: usize) -> S::Vector;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f32) -> S::Vector {
        // SAFETY: the same contract.
        unsafe { simd.load(from) }
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(simd: S, from: *const f32, count: usize) -> S::Vector {
        // SAFETY: the same contract.
        unsafe { simd.load_first(from, count) }
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const bf16) -> S::Vector {
        // SAFETY: the same contract.
        unsafe { simd.load_bf16(from) }
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(simd: S, from: *const bf16, count: usize) -> S::Vector {
        // SAFETY: the same contract.
        unsafe { simd.load_bf16_first(from, count) }
    }
}

/// What a lane holds in a packed product: a unit of 32 bits, one or two elements that are neighbours along the
/// summed dimension. Vectors and buffers of units have the types of `f32`, whatever the units hold.
pub(crate) trait Units<S: Simd>: Send + Sync + 'static {
    /// The element of the weight matrix.
    type Element: Element;
    /// Elements in a unit.
    const ELEMENTS: usize;
    /// Reads `LANES` units of weights.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES · ELEMENTS` elements.
    unsafe fn load_weights(simd: S, from: *const Self::Element) -> S::Vector;
    /// Reads so many elements of weights, at most `LANES · ELEMENTS`; what follows is zero.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn load_weights_first(simd: S, from: *const Self::Element, elements: usize) -> S::Vector;
    /// Reads activations into `LANES` units.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES · ELEMENTS` elements.
    unsafe fn load_activations(simd: S, from: *const f32) -> S::Vector;
    /// Reads so many activations, at most `LANES · ELEMENTS`; what follows is zero.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn load_activations_first(simd: S, from: *const f32, elements: usize) -> S::Vector;
    /// sum + Σ a · b over the elements of each unit, in `f32`.
    fn multiply_add(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector;
}

/// `f32` weights.
pub(crate) struct F32Units;

/// `bf16` weights widened to `f32`; activations stay as they are.
pub(crate) struct WidenedBf16Units;

/// Pairs of `bf16`; activations are rounded to nearest even.
#[cfg(target_arch = "x86_64")]
pub(crate) struct PairedBf16Units;

/// Units of one element, which differ only in the type of the weights.
macro_rules! single_units {
    ($units:ty, $element:ty) => {
        impl<S: Simd> Units<S> for $units {
            type Element = $element;
            const ELEMENTS: usize = 1;

            #[inline(always)]
            unsafe fn load_weights(simd: S, from: *const $element) -> S::Vector {
                // SAFETY: the same contract.
                unsafe { Element::load(simd, from) }
            }
            #[inline(always)]
            unsafe fn load_weights_first(simd: S, from: *const $element, elements: usize) -> S::Vector {
                // SAFETY: the same contract.
                unsafe { Element::load_first(simd, from, elements) }
            }
            #[inline(always)]
            unsafe fn load_activations(simd: S, from: *const f32) -> S::Vector {
                // SAFETY: the same contract.
                unsafe { simd.load(from) }
            }
            #[inline(always)]
            unsafe fn load_activations_first(simd: S, from: *const f32, elements: usize) -> S::Vector {
                // SAFETY: the same contract.
                unsafe { simd.load_first(from, elements) }
            }
            #[inline(always)]
            fn multiply_add(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector {
                simd.multiply_add(a, b, sum)
            }
        }
    };
}

single_units!(F32Units, f32);
single_units!(WidenedBf16Units, bf16);

#[cfg(target_arch = "x86_64")]
impl Units<Avx512<true>> for PairedBf16Units {
    type Element = bf16;
    const ELEMENTS: usize = 2;

    #[inline(always)]
    unsafe fn load_weights(simd: Avx512<true>, from: *const bf16) -> __m512 {
        // SAFETY: 32 `bf16` are as long as 16 `f32`, and the load needs no alignment.
        unsafe { simd.load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_weights_first(_: Avx512<true>, from: *const bf16, elements: usize) -> __m512 {
        let mask = ((1u64 << elements.min(32)) - 1) as __mmask32;
        // SAFETY: masked elements are not read, the caller vouches for the others, the token for the instruction.
        unsafe { _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_activations(simd: Avx512<true>, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 32 elements.
        let (low, high) = unsafe { (simd.load(from), simd.load(from.add(16))) };
        round_to_pairs(simd, low, high)
    }
    #[inline(always)]
    unsafe fn load_activations_first(simd: Avx512<true>, from: *const f32, elements: usize) -> __m512 {
        let first = elements.min(16);
        // SAFETY: the caller vouches for `elements`; the second address is at most one past them.
        let (low, high) =
            unsafe { (simd.load_first(from, first), simd.load_first(from.add(first), elements - first)) };
        round_to_pairs(simd, low, high)
    }
    #[inline(always)]
    fn multiply_add(_: Avx512<true>, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the vectors are of one size and any bits are values; the token proves the instruction.
        unsafe {
            let [a, b] = [a, b].map(|pairs| std::mem::transmute::<__m512, __m512bh>(pairs));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }
}

/// The 32 values, low before high, rounded to `bf16`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn round_to_pairs(_: Avx512<true>, low: __m512, high: __m512) -> __m512 {
    // SAFETY: the vectors are of one size and any bits are values; the token proves the instruction.
    unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
}
