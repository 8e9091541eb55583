//! Sixteen lanes of AVX-512.
//!
//! Each `unsafe` block calls an intrinsic that needs AVX-512: sound because [`Avx512::new`] asks its caller to vouch
//! for it, and a token exists only after that.

use std::arch::x86_64::*;

use half::bf16;

use super::Simd;

/// Proves that the processor has AVX-512 F, BW, VL and DQ, and with `BF16` its products of `bf16` pairs.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>(());

impl<const BF16: bool> Avx512<BF16> {
    /// # Safety
    /// The processor has AVX-512 F, BW, VL and DQ, and if `BF16` also AVX-512 BF16.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Avx512(())
    }

    /// A bit for each lane before `count`.
    #[inline(always)]
    fn mask(self, count: usize) -> __mmask16 {
        ((1u32 << count.min(16)) - 1) as __mmask16
    }
}

/// A method that is one intrinsic.
macro_rules! intrinsic {
    ($($method:ident($($argument:ident),+) = $intrinsic:expr;)+) => {$(
        #[inline(always)]
        fn $method(self, $($argument: __m512),+) -> __m512 {
            // SAFETY: the token proves that the processor has the instruction.
            unsafe { $intrinsic($($argument),+) }
        }
    )+};
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type Vector = __m512;
    const LANES: usize = 16;

    intrinsic! {
        add(a, b) = _mm512_add_ps;
        subtract(a, b) = _mm512_sub_ps;
        multiply(a, b) = _mm512_mul_ps;
        divide(a, b) = _mm512_div_ps;
        multiply_add(a, b, c) = _mm512_fmadd_ps;
        minimum(a, b) = _mm512_min_ps;
        maximum(a, b) = _mm512_max_ps;
        round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>;
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: the token proves that the processor has the instruction.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for sixteen elements, the token for the instruction.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: masked lanes are not read; the caller vouches for the others, the token for the instruction.
        unsafe { _mm512_maskz_loadu_ps(self.mask(count), from) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const bf16) -> __m512 {
        // SAFETY: the caller vouches for sixteen elements, the token for the instructions.
        unsafe {
            let halves = _mm256_loadu_si256(from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_first(self, from: *const bf16, count: usize) -> __m512 {
        // SAFETY: masked lanes are not read; the caller vouches for the others, the token for the instructions.
        unsafe {
            let halves = _mm256_maskz_loadu_epi16(self.mask(count), from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: __m512) {
        // SAFETY: the caller vouches for sixteen elements, the token for the instruction.
        unsafe { _mm512_storeu_ps(to, vector) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, vector: __m512, count: usize) {
        // SAFETY: masked lanes are not written; the caller vouches for the others, the token for the instruction.
        unsafe { _mm512_mask_storeu_ps(to, self.mask(count), vector) }
    }
    #[inline(always)]
    fn power_of_two(self, a: __m512) -> __m512 {
        // SAFETY: the token proves that the processor has the instruction.
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), a) }
    }
    #[inline(always)]
    fn select_less(self, a: __m512, b: __m512, then: __m512, otherwise: __m512) -> __m512 {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), otherwise, then) }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn sums(self, [a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        // SAFETY: the token proves that the processor has the instructions; four lanes are an array of as many.
        unsafe {
            // In each quarter: a, b, a, b and c, d, c, d of two halves, then a, b, c, d.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let abcd = _mm512_add_ps(
                _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
            );
            let eight = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps::<1>(abcd));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            std::mem::transmute::<__m128, [f32; 4]>(four)
        }
    }
    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [__m512; 16]) {
        // SAFETY: the token proves that the processor has the instructions.
        unsafe {
            // Squares of four by four inside each quarter, then quarters are transposed.
            for group in 0..4 {
                let [a, b, c, d] = [0, 1, 2, 3].map(|row| rows[4 * group + row]);
                let low = [_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)].map(|v| _mm512_castps_pd(v));
                let high = [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)].map(|v| _mm512_castps_pd(v));
                rows[4 * group] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
                rows[4 * group + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
                rows[4 * group + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
                rows[4 * group + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
            }
            for column in 0..4 {
                let [a, b, c, d] = [0, 4, 8, 12].map(|group| rows[group + column]);
                let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
                let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                rows[column] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
                rows[4 + column] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
                rows[8 + column] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
                rows[12 + column] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
            }
        }
    }
}
