//! Eight lanes of AVX2 with FMA.
//!
//! Each `unsafe` block calls an intrinsic that needs AVX2 or FMA: sound because [`Avx2::new`] asks its caller to
//! vouch for both, and a token exists only after that.

use std::arch::x86_64::*;

use half::bf16;

use super::Simd;

/// Proves that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor has AVX2 and FMA.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Avx2(())
    }

    /// All bits set in the lanes before `count`.
    #[inline(always)]
    fn mask(self, count: usize) -> __m256i {
        const LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        let window = &LANES[8 - count.min(8)..][..8];
        // SAFETY: eight elements of the table; the token proves the instruction.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }
}

/// A method that is one intrinsic.
macro_rules! intrinsic {
    ($($method:ident($($argument:ident),+) = $intrinsic:expr;)+) => {$(
        #[inline(always)]
        fn $method(self, $($argument: __m256),+) -> __m256 {
            // SAFETY: the token proves that the processor has the instruction.
            unsafe { $intrinsic($($argument),+) }
        }
    )+};
}

impl Simd for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;

    intrinsic! {
        add(a, b) = _mm256_add_ps;
        subtract(a, b) = _mm256_sub_ps;
        multiply(a, b) = _mm256_mul_ps;
        divide(a, b) = _mm256_div_ps;
        multiply_add(a, b, c) = _mm256_fmadd_ps;
        minimum(a, b) = _mm256_min_ps;
        maximum(a, b) = _mm256_max_ps;
        round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>;
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: the token proves that the processor has the instruction.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for eight elements, the token for the instruction.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m256 {
        // SAFETY: masked lanes are not read; the caller vouches for the others, the token for the instruction.
        unsafe { _mm256_maskload_ps(from, self.mask(count)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> __m256 {
        // SAFETY: the caller vouches for eight elements, the token for the instructions.
        unsafe {
            let halves = _mm_loadu_si128(from.cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_first(self, from: *const bf16, count: usize) -> __m256 {
        let mut elements = [bf16::ZERO; 8];
        // SAFETY: the caller vouches for `count` elements, at most eight.
        unsafe { std::ptr::copy_nonoverlapping(from, elements.as_mut_ptr(), count.min(8)) };
        // SAFETY: eight elements of an array.
        unsafe { self.load_bf16(elements.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: __m256) {
        // SAFETY: the caller vouches for eight elements, the token for the instruction.
        unsafe { _mm256_storeu_ps(to, vector) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, vector: __m256, count: usize) {
        // SAFETY: masked lanes are not written; the caller vouches for the others, the token for the instruction.
        unsafe { _mm256_maskstore_ps(to, self.mask(count), vector) }
    }
    #[inline(always)]
    fn power_of_two(self, a: __m256) -> __m256 {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe {
            let exponents = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponents))
        }
    }
    #[inline(always)]
    fn select_less(self, a: __m256, b: __m256, then: __m256, otherwise: __m256) -> __m256 {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn sums(self, [a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        // SAFETY: the token proves that the processor has the instructions; four lanes are an array of as many.
        unsafe {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let four = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            std::mem::transmute::<__m128, [f32; 4]>(four)
        }
    }
    #[inline(always)]
    fn largest(self, a: __m256) -> f32 {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [__m256; 16]) {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe {
            // Squares of four by four inside each half, then halves are exchanged.
            for group in 0..2 {
                let [a, b, c, d] = [0, 1, 2, 3].map(|row| rows[4 * group + row]);
                let low = [_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)].map(|v| _mm256_castps_pd(v));
                let high = [_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)].map(|v| _mm256_castps_pd(v));
                rows[4 * group] = _mm256_castpd_ps(_mm256_unpacklo_pd(low[0], low[1]));
                rows[4 * group + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low[0], low[1]));
                rows[4 * group + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high[0], high[1]));
                rows[4 * group + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high[0], high[1]));
            }
            for column in 0..4 {
                let (upper, lower) = (rows[column], rows[4 + column]);
                rows[column] = _mm256_permute2f128_ps::<0x20>(upper, lower);
                rows[4 + column] = _mm256_permute2f128_ps::<0x31>(upper, lower);
            }
        }
    }
}
