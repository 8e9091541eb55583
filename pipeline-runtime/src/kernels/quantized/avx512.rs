//! Products with AVX-512 VNNI: four products of 8 bits, unsigned times signed, added to 32.
//!
//! The intrinsics need the features that each function enables; addresses are those that a [`Tile`] vouches for.

#![allow(clippy::needless_range_loop, reason = "a row indexes several arrays of registers")]

use std::arch::x86_64::*;

use super::activations::units_of_block;
use super::dots::{AHEAD, Tile};
use super::{QuantizedFormat, q4_k_scale_bytes};

/// # Safety
/// As [`Tile::multiply`], and the processor has the features.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn q4_k<const R: usize>(tile: &Tile) {
    const BYTES: usize = 144;
    let units = units_of_block(QuantizedFormat::Q4K);
    let lower = _mm512_set1_epi8(15);
    // d for the scales, dmin for the minima.
    let spread = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    // The parts that each vector of quants holds, see `activations`.
    let second = _mm512_slli_epi32::<1>(spread);
    let parts = [0, 1, 4, 5].map(|first| _mm512_add_epi32(_mm512_set1_epi32(first), second));
    for output in 0..tile.outputs {
        let mut sums = [[_mm512_setzero_ps(); 4]; R];
        let mut minima = [_mm512_setzero_ps(); R];
        // Four chains of sums for few rows; more rows have chains enough, and need the registers.
        let chains = if R <= 2 { 4 } else { 2 };
        for block in 0..tile.blocks {
            // SAFETY: a block of the weights and, for each row, one of the panel.
            unsafe {
                let weight = tile.weight.add((output * tile.blocks + block) * BYTES);
                for line in 0..3 {
                    _mm_prefetch::<_MM_HINT_T0>(weight.wrapping_add(AHEAD + 64 * line).cast());
                }
                let header = std::slice::from_raw_parts(weight, 16);
                let (scale_bytes, minimum_bytes) = q4_k_scale_bytes(header);
                let bytes = _mm_set_epi64x(minimum_bytes as i64, scale_bytes as i64);
                let both = _mm_cvtph_ps(_mm_cvtsi32_si128(weight.cast::<i32>().read_unaligned()));
                let both = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(both));
                let factors = _mm512_mul_ps(both, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)));
                let [first, last] = [16, 80].map(|place| _mm512_loadu_si512(weight.add(place).cast()));
                let upper = |quants| _mm512_and_si512(_mm512_srli_epi16::<4>(quants), lower);
                let quants = [
                    _mm512_and_si512(first, lower),
                    upper(first),
                    _mm512_and_si512(last, lower),
                    upper(last),
                ];
                for row in 0..R {
                    let x = tile.panel.add((block * tile.height + row) * units);
                    // Eight factors of products, eight minima times sums.
                    let scaled = _mm512_mul_ps(factors, _mm512_loadu_ps(x.add(64)));
                    minima[row] = _mm512_add_ps(minima[row], scaled);
                    for vector in 0..4 {
                        let values = _mm512_loadu_si512(x.add(16 * vector).cast());
                        let products = _mm512_dpbusd_epi32(_mm512_setzero_si512(), quants[vector], values);
                        let factor = _mm512_permutexvar_ps(parts[vector], scaled);
                        let sum = &mut sums[row][vector % chains];
                        *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), factor, *sum);
                    }
                }
            }
        }
        for row in 0..R {
            let [a, b, c, d] = sums[row];
            let total = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
            let total = _mm512_mask_sub_ps(total, 0xff00, total, minima[row]);
            // SAFETY: a row and an output of the tile.
            unsafe { tile.put(row, output, _mm512_reduce_add_ps(total)) }
        }
    }
}

/// # Safety
/// As [`Tile::multiply`], and the processor has the features.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn q8_0<const R: usize>(tile: &Tile) {
    const BYTES: usize = 34;
    let units = units_of_block(QuantizedFormat::Q80);
    for output in 0..tile.outputs {
        let mut sums = [[_mm256_setzero_ps(); 4]; R];
        let mut add = |block: usize, chain: usize| {
            // SAFETY: a block of the weights and, for each row, one of the panel.
            unsafe {
                let weight = tile.weight.add((output * tile.blocks + block) * BYTES);
                _mm_prefetch::<_MM_HINT_T0>(weight.wrapping_add(AHEAD).cast());
                let bits = i32::from(weight.cast::<u16>().read_unaligned());
                let scale = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
                let quants = _mm256_loadu_si256(weight.add(2).cast());
                // Magnitudes times values that take the signs.
                let magnitudes = _mm256_abs_epi8(quants);
                for row in 0..R {
                    let x = tile.panel.add((block * tile.height + row) * units);
                    let values = _mm256_sign_epi8(_mm256_loadu_si256(x.cast()), quants);
                    let products = _mm256_dpbusd_epi32(_mm256_setzero_si256(), magnitudes, values);
                    let factor = _mm256_mul_ps(scale, _mm256_broadcast_ss(&*x.add(8)));
                    let sum = &mut sums[row][chain];
                    *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), factor, *sum);
                }
            }
        };
        let whole = tile.blocks / 4 * 4;
        for block in (0..whole).step_by(4) {
            for chain in 0..4 {
                add(block + chain, chain);
            }
        }
        for block in whole..tile.blocks {
            add(block, 0);
        }
        for row in 0..R {
            let [a, b, c, d] = sums[row];
            let total = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
            let four = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps::<1>(total));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            // SAFETY: a row and an output of the tile.
            unsafe { tile.put(row, output, _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))) }
        }
    }
}
