//! Products with AVX2: pairs of products of 8 bits, unsigned times signed.
//!
//! The intrinsics need the features that each function enables; addresses are those that a [`Tile`] vouches for.

#![allow(clippy::needless_range_loop, reason = "a row indexes several arrays of registers")]

use std::arch::x86_64::*;

use super::activations::{q4_k_place, units_of_block};
use super::dots::{AHEAD, Tile};
use super::{QuantizedFormat, q4_k_scale_bytes};

/// Sums of four neighbouring products of bytes, `a` unsigned, whose pairs do not exceed 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots(a: __m256i, b: __m256i) -> __m256i {
    _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))
}

/// The sum of the lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum(a: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// # Safety
/// As [`Tile::multiply`], and the processor has the features.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn q4_k<const R: usize>(tile: &Tile) {
    const BYTES: usize = 144;
    let units = units_of_block(QuantizedFormat::Q4K);
    let lower = _mm256_set1_epi8(15);
    for output in 0..tile.outputs {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let mut minima = [_mm256_setzero_ps(); R];
        for block in 0..tile.blocks {
            // SAFETY: a block of the weights and, for each row, one of the panel.
            unsafe {
                let weight = tile.weight.add((output * tile.blocks + block) * BYTES);
                for line in 0..3 {
                    _mm_prefetch::<_MM_HINT_T0>(weight.wrapping_add(AHEAD + 64 * line).cast());
                }
                let header = std::slice::from_raw_parts(weight, 16);
                let (scale_bytes, minimum_bytes) = q4_k_scale_bytes(header);
                let wide =
                    |bytes: u64| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes as i64)));
                let both = _mm_cvtph_ps(_mm_cvtsi32_si128(weight.cast::<i32>().read_unaligned()));
                let scale = _mm256_broadcastss_ps(both);
                let minimum = _mm256_broadcastss_ps(_mm_movehdup_ps(both));
                let scales = _mm256_mul_ps(scale, wide(scale_bytes));
                let minimums = _mm256_mul_ps(minimum, wide(minimum_bytes));
                let mut factors = [[0.0f32; 8]; R];
                for row in 0..R {
                    let x = tile.panel.add((block * tile.height + row) * units);
                    _mm256_storeu_ps(
                        factors[row].as_mut_ptr(),
                        _mm256_mul_ps(scales, _mm256_loadu_ps(x.add(64))),
                    );
                    minima[row] = _mm256_fmadd_ps(minimums, _mm256_loadu_ps(x.add(72)), minima[row]);
                }
                for pair in 0..4 {
                    let quants = _mm256_loadu_si256(weight.add(16 + 32 * pair).cast());
                    let halves = [
                        _mm256_and_si256(quants, lower),
                        _mm256_and_si256(_mm256_srli_epi16::<4>(quants), lower),
                    ];
                    for row in 0..R {
                        let x = tile.panel.add((block * tile.height + row) * units).cast::<u8>();
                        for half in 0..2 {
                            let part = 2 * pair + half;
                            let values = _mm256_loadu_si256(x.add(q4_k_place(part)).cast());
                            let products = _mm256_cvtepi32_ps(dots(halves[half], values));
                            let factor = _mm256_set1_ps(factors[row][part]);
                            sums[row][half] = _mm256_fmadd_ps(products, factor, sums[row][half]);
                        }
                    }
                }
            }
        }
        for row in 0..R {
            let total = _mm256_sub_ps(_mm256_add_ps(sums[row][0], sums[row][1]), minima[row]);
            // SAFETY: a row and an output of the tile.
            unsafe { tile.put(row, output, sum(total)) }
        }
    }
}

/// # Safety
/// As [`Tile::multiply`], and the processor has the features.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn q8_0<const R: usize>(tile: &Tile) {
    const BYTES: usize = 34;
    let units = units_of_block(QuantizedFormat::Q80);
    for output in 0..tile.outputs {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let mut add = |block: usize, chain: usize| {
            // SAFETY: a block of the weights and, for each row, one of the panel.
            unsafe {
                let weight = tile.weight.add((output * tile.blocks + block) * BYTES);
                _mm_prefetch::<_MM_HINT_T0>(weight.wrapping_add(AHEAD).cast());
                let bits = i32::from(weight.cast::<u16>().read_unaligned());
                let scale = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
                let quants = _mm256_loadu_si256(weight.add(2).cast());
                // Magnitudes times values that take the signs: quants are above -128.
                let magnitudes = _mm256_sign_epi8(quants, quants);
                for row in 0..R {
                    let x = tile.panel.add((block * tile.height + row) * units);
                    let values = _mm256_sign_epi8(_mm256_loadu_si256(x.cast()), quants);
                    let products = _mm256_cvtepi32_ps(dots(magnitudes, values));
                    let factor = _mm256_mul_ps(scale, _mm256_broadcast_ss(&*x.add(8)));
                    sums[row][chain] = _mm256_fmadd_ps(products, factor, sums[row][chain]);
                }
            }
        };
        for pair in 0..tile.blocks / 2 {
            add(2 * pair, 0);
            add(2 * pair + 1, 1);
        }
        if tile.blocks % 2 == 1 {
            add(tile.blocks - 1, 0);
        }
        for row in 0..R {
            // SAFETY: a row and an output of the tile.
            unsafe { tile.put(row, output, sum(_mm256_add_ps(sums[row][0], sums[row][1]))) }
        }
    }
}
