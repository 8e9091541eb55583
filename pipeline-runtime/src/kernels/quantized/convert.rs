//! Dense weights to blocks, and back.

use std::ops::Range;

use candle_core::quantized::{GgmlDType, QTensor};
use half::bf16;
use rayon::prelude::*;

use super::{QuantizedFormat, QuantizedRef, f16_at, q4_k_scales};
use crate::error::Result;

/// Weights that a thread quantises at a time.
const CHUNK: usize = 1 << 16;

/// ggml's blocks of `weights`.
///
/// # Panics
/// They are no whole number of blocks.
///
/// # Errors
/// The library that chooses scales and quants refuses.
pub fn quantize(format: QuantizedFormat, weights: &[f32]) -> Result<Vec<u8>> {
    quantize_with(format, weights.len(), |range| weights[range].to_vec())
}

/// ggml's blocks of so many weights, of which `dense` gives a range at a time, on all threads.
pub(crate) fn quantize_with(
    format: QuantizedFormat,
    weights: usize,
    dense: impl Fn(Range<usize>) -> Vec<f32> + Sync,
) -> Result<Vec<u8>> {
    let mut blocks = vec![0; format.bytes(weights)];
    let ggml = match format {
        QuantizedFormat::Q4K => GgmlDType::Q4K,
        QuantizedFormat::Q80 => GgmlDType::Q8_0,
    };
    let chunks = blocks.par_chunks_mut(format.bytes(CHUNK)).enumerate();
    chunks.try_for_each(|(index, blocks)| -> Result<()> {
        let range = index * CHUNK..weights.min((index + 1) * CHUNK);
        let shape = (range.len() / format.block(), format.block());
        let dense = candle_core::Tensor::from_vec(dense(range), shape, &candle_core::Device::Cpu)?;
        blocks.copy_from_slice(&QTensor::quantize(&dense, ggml)?.data()?);
        Ok(())
    })?;
    Ok(blocks)
}

/// The weights of whole blocks.
///
/// # Panics
/// `dense` has another length.
pub fn dequantize(weights: QuantizedRef<'_>, dense: &mut [f32]) {
    dequantize_f32(weights, dense);
}

/// The same, compiled into a kernel.
#[inline(always)]
pub(crate) fn dequantize_f32(weights: QuantizedRef<'_>, dense: &mut [f32]) {
    dequantize_as(weights, dense, |number| number);
}

/// The same, rounded to `bf16`.
#[inline(always)]
pub(crate) fn dequantize_bf16(weights: QuantizedRef<'_>, dense: &mut [bf16]) {
    // To the nearest, ties to even, without a branch for NaN, so that loops become vectors.
    dequantize_as(weights, dense, |number| {
        let bits = number.to_bits();
        bf16::from_bits((bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16)
    });
}

#[inline(always)]
fn dequantize_as<T>(weights: QuantizedRef<'_>, dense: &mut [T], narrow: impl Fn(f32) -> T) {
    assert_eq!(dense.len(), weights.len(), "as many weights");
    let format = weights.format;
    let blocks = weights.blocks.chunks_exact(format.block_bytes());
    for (block, dense) in blocks.zip(dense.chunks_exact_mut(format.block())) {
        match format {
            QuantizedFormat::Q80 => {
                let scale = f16_at(block, 0);
                for (dense, &quant) in dense.iter_mut().zip(&block[2..]) {
                    *dense = narrow(scale * f32::from(quant as i8));
                }
            }
            QuantizedFormat::Q4K => {
                let (scales, minima) = q4_k_scales(block);
                let (scale, minimum) = (f16_at(block, 0), f16_at(block, 2));
                let pairs = block[16..].chunks_exact(32).zip(dense.chunks_exact_mut(64));
                for (pair, (quants, dense)) in pairs.enumerate() {
                    for (half, dense) in dense.chunks_exact_mut(32).enumerate() {
                        let scale = scale * f32::from(scales[2 * pair + half]);
                        let minimum = minimum * f32::from(minima[2 * pair + half]);
                        let shift = 4 * half as u32;
                        for (dense, &quant) in dense.iter_mut().zip(quants) {
                            *dense = narrow(scale * f32::from(quant >> shift & 15) - minimum);
                        }
                    }
                }
            }
        }
    }
}
