//! Vectors of `f32`, one implementation an instruction set, that kernels are generic over.
//!
//! A token (a value of a type that implements [`Simd`]) proves that the processor has the instructions: it is made
//! only by [`InstructionSet::run`](super::InstructionSet::run), which has asked. Everything generic over it is
//! `#[inline(always)]`, so that it is compiled inside the function that enables the instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
mod portable;
mod products;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use math::{exp, silu};
pub(crate) use portable::Portable;
pub(crate) use products::{F32Units, Products, Units, WidenedBf16Units};

use half::bf16;

/// Work that [`InstructionSet::run`](super::InstructionSet::run) compiles once for each instruction set.
/// Implementations are `#[inline(always)]`.
pub(crate) trait Kernel {
    /// What the work results in.
    type Output;
    /// Does the work.
    fn run<S: Products>(self, simd: S) -> Self::Output;
}

/// A vector of `LANES` `f32` and what can be done with it.
pub(crate) trait Simd: Copy + Send + Sync {
    /// The vector.
    type Vector: Copy;
    /// How many `f32` it holds: 4, 8 or 16.
    const LANES: usize;

    /// Every lane is `value`.
    fn splat(self, value: f32) -> Self::Vector;
    /// Reads `LANES` elements.
    ///
    /// # Safety
    /// `from` is valid for reading them; it needs no alignment beyond the element's.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// Reads `count <= LANES` elements; the lanes after them are zero.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::Vector;
    /// Reads `LANES` elements and widens them.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn load_bf16(self, from: *const bf16) -> Self::Vector;
    /// Reads `count <= LANES` elements and widens them; the lanes after them are zero.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn load_bf16_first(self, from: *const bf16, count: usize) -> Self::Vector;
    /// Writes `LANES` elements.
    ///
    /// # Safety
    /// `to` is valid for writing them.
    unsafe fn store(self, to: *mut f32, vector: Self::Vector);
    /// Writes the first `count <= LANES` elements.
    ///
    /// # Safety
    /// `to` is valid for writing them.
    unsafe fn store_first(self, to: *mut f32, vector: Self::Vector, count: usize);

    /// a + b
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a - b
    fn subtract(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a / b
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b + c, rounded once where the instruction set can.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The smaller; `b` where either is NaN.
    fn minimum(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The larger; `b` where either is NaN.
    fn maximum(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The nearest integer, ties to even; lanes must be smaller than 2^22 in magnitude.
    fn round(self, a: Self::Vector) -> Self::Vector;
    /// 2^a for integers between -126 and 127.
    fn power_of_two(self, a: Self::Vector) -> Self::Vector;
    /// `then` where a < b, elsewhere `otherwise`.
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        then: Self::Vector,
        otherwise: Self::Vector,
    ) -> Self::Vector;
    /// The sum of the lanes, added pairwise.
    fn sum(self, a: Self::Vector) -> f32;
    /// The sums of the lanes of four vectors.
    fn sums(self, vectors: [Self::Vector; 4]) -> [f32; 4];
    /// The largest lane.
    fn largest(self, a: Self::Vector) -> f32;
    /// Transposes the square of the first `LANES` vectors: lane j of vector i becomes lane i of vector j.
    fn transpose(self, rows: &mut [Self::Vector; 16]);

    /// Every lane is zero.
    #[inline(always)]
    fn zero(self) -> Self::Vector {
        self.splat(0.0)
    }

    /// Reads the first `LANES` elements of a slice that has as many.
    #[inline(always)]
    fn load_slice(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.load(from.as_ptr()) }
    }

    /// Writes the first `LANES` elements of a slice that has as many.
    #[inline(always)]
    fn store_slice(self, to: &mut [f32], vector: Self::Vector) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.store(to.as_mut_ptr(), vector) }
    }

    /// Reads a slice of at most `LANES` elements; the lanes after them are zero.
    #[inline(always)]
    fn load_short(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() <= Self::LANES);
        // SAFETY: as many elements as the slice has.
        unsafe { self.load_first(from.as_ptr(), from.len()) }
    }

    /// Fills a slice of at most `LANES` elements.
    #[inline(always)]
    fn store_short(self, to: &mut [f32], vector: Self::Vector) {
        assert!(to.len() <= Self::LANES);
        // SAFETY: as many elements as the slice has.
        unsafe { self.store_first(to.as_mut_ptr(), vector, to.len()) }
    }
}

/// Asks for the cache line at `address` to be brought into all caches; any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that reads nothing; SSE is part of the target.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the cache line at `address` to be brought into the second-level cache; any address will do.
#[inline(always)]
pub(crate) fn prefetch_second_level<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that reads nothing; SSE is part of the target.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests;
