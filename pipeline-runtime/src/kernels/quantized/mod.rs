//! Weights in ggml's block formats: a scale for a few neighbours, and few bits for each.
//!
//! Activations stay in `f32` between layers. For few rows they are quantised too, to 8 bits with a scale for 32
//! neighbours, and products of a scale are summed as whole numbers: such products are bound by reading the weights,
//! of which there are fewer bytes. For many rows, blocks of weights become dense as they are read.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the formats |
//! | `convert.rs` | dense weights to blocks, and back |
//! | `activations.rs` | activations of 8 bits |
//! | `dots.rs`, `avx512.rs`, `avx2.rs`, `portable.rs` | products of few rows |

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod convert;
mod dots;
mod portable;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

pub(crate) use activations::{quantize_panel, quantized_rows, units_of_block};
pub use convert::{dequantize, quantize};
pub(crate) use convert::{dequantize_bf16, dequantize_f32, quantize_with};
pub(crate) use dots::{HEIGHT, IntegerDots, Tile};

/// A format of quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantizedFormat {
    /// ggml's `Q4_K`: 4.5 bits a weight, in blocks of 256.
    Q4K,
    /// ggml's `Q8_0`: 8.5 bits a weight, in blocks of 32.
    Q80,
}

impl QuantizedFormat {
    /// Every format.
    pub const ALL: [QuantizedFormat; 2] = [QuantizedFormat::Q4K, QuantizedFormat::Q80];

    /// The name: `q4_k` or `q8_0`.
    pub fn name(self) -> &'static str {
        match self {
            QuantizedFormat::Q4K => "q4_k",
            QuantizedFormat::Q80 => "q8_0",
        }
    }

    /// Weights of a block.
    pub fn block(self) -> usize {
        match self {
            QuantizedFormat::Q4K => 256,
            QuantizedFormat::Q80 => 32,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            QuantizedFormat::Q4K => 144,
            QuantizedFormat::Q80 => 34,
        }
    }

    /// Bits of a weight, its share of the scales included.
    pub fn bits(self) -> f64 {
        8.0 * self.block_bytes() as f64 / self.block() as f64
    }

    /// Bytes of so many weights, in ggml's layout and on a device.
    ///
    /// # Panics
    /// They are no whole number of blocks.
    pub fn bytes(self, weights: usize) -> usize {
        assert!(weights.is_multiple_of(self.block()), "{weights} weights are whole blocks of {self}");
        weights / self.block() * self.block_bytes()
    }

    /// The format that matrices with rows of these lengths take when this one is asked for: this one where rows are
    /// whole blocks of it, else `Q8_0` where they are whole blocks of that, else none.
    pub fn fitting(self, widths: &[usize]) -> Option<QuantizedFormat> {
        let fits = |format: &QuantizedFormat| widths.iter().all(|width| width.is_multiple_of(format.block()));
        [self, QuantizedFormat::Q80].into_iter().find(fits)
    }

    /// The parts of a block that lie apart on a device, in the order in which they lie there: first the quants of all
    /// blocks, so that they begin at multiples of their size, then what scales them, of all blocks.
    pub(crate) fn sections(self) -> &'static [Range<usize>] {
        const Q4_K: &[Range<usize>] = &[16..144, 0..16];
        const Q8_0: &[Range<usize>] = &[2..34, 0..2];
        match self {
            QuantizedFormat::Q4K => Q4_K,
            QuantizedFormat::Q80 => Q8_0,
        }
    }

    /// One of the [`sections`](Self::sections) of ggml's blocks.
    pub(crate) fn section(self, blocks: &[u8], section: &Range<usize>) -> Vec<u8> {
        blocks.chunks_exact(self.block_bytes()).flat_map(|block| &block[section.clone()]).copied().collect()
    }

    /// ggml's blocks in the layout that a device's kernels read, see [`sections`](Self::sections).
    ///
    /// # Panics
    /// The bytes are no whole number of blocks.
    pub fn pack(self, blocks: &[u8]) -> Vec<u8> {
        assert!(blocks.len().is_multiple_of(self.block_bytes()), "whole blocks of {self}");
        self.sections().iter().flat_map(|section| self.section(blocks, section)).collect()
    }
}

impl fmt::Display for QuantizedFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for QuantizedFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<QuantizedFormat, String> {
        QuantizedFormat::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("unknown format `{name}`, expected one of `q4_k`, `q8_0`"))
    }
}

/// Quantised weights in ggml's layout: whole blocks.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedRef<'a> {
    format: QuantizedFormat,
    blocks: &'a [u8],
}

impl<'a> QuantizedRef<'a> {
    /// The weights of these blocks.
    ///
    /// # Panics
    /// The bytes are no whole number of blocks.
    pub fn new(format: QuantizedFormat, blocks: &'a [u8]) -> QuantizedRef<'a> {
        assert!(blocks.len().is_multiple_of(format.block_bytes()), "whole blocks of {format}");
        QuantizedRef { format, blocks }
    }

    /// The format.
    pub fn format(self) -> QuantizedFormat {
        self.format
    }

    /// The number of weights.
    pub fn len(self) -> usize {
        self.blocks.len() / self.format.block_bytes() * self.format.block()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.blocks.is_empty()
    }

    /// The bytes of the weights of `range`.
    ///
    /// # Panics
    /// The range does not begin and end with a block, or is beyond the last.
    pub fn bytes(self, range: Range<usize>) -> &'a [u8] {
        &self.blocks[self.format.bytes(range.start)..self.format.bytes(range.end)]
    }

    /// The weight at `index`.
    pub(crate) fn get(self, index: usize) -> f32 {
        let (block, place) = (index / self.format.block(), index % self.format.block());
        let bytes = &self.blocks[block * self.format.block_bytes()..][..self.format.block_bytes()];
        match self.format {
            QuantizedFormat::Q80 => f16_at(bytes, 0) * f32::from(bytes[2 + place] as i8),
            QuantizedFormat::Q4K => {
                let (scales, minima) = q4_k_scales(bytes);
                let part = place / 32;
                let quant = bytes[16 + part / 2 * 32 + place % 32] >> (part % 2 * 4) & 15;
                let scale = f16_at(bytes, 0) * f32::from(scales[part]);
                scale * f32::from(quant) - f16_at(bytes, 2) * f32::from(minima[part])
            }
        }
    }
}

/// The number of 16 bits at a byte.
#[inline(always)]
fn f16_at(bytes: &[u8], place: usize) -> f32 {
    half::f16::from_le_bytes([bytes[place], bytes[place + 1]]).to_f32()
}

/// The scales and minima, of 6 bits, of the eight parts of a `Q4_K` block, in bytes: part 0 in the lowest.
#[inline(always)]
fn q4_k_scale_bytes(block: &[u8]) -> (u64, u64) {
    let word = |place: usize| u32::from_le_bytes(block[place..place + 4].try_into().expect("four bytes"));
    let (first, second, third) = (word(4), word(8), word(12));
    let upper = |word: u32| (word >> 6 & 0x0303_0303) << 4;
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    (
        pair(first & 0x3f3f_3f3f, third & 0x0f0f_0f0f | upper(first)),
        pair(second & 0x3f3f_3f3f, third >> 4 & 0x0f0f_0f0f | upper(second)),
    )
}

/// The scales and minima of the eight parts of a `Q4_K` block.
#[inline(always)]
fn q4_k_scales(block: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (scales, minima) = q4_k_scale_bytes(block);
    (scales.to_le_bytes(), minima.to_le_bytes())
}
