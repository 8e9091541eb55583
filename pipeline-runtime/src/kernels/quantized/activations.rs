//! Activations of 8 bits with a scale for 32 neighbours.
//!
//! They lie in panels of rows as other activations of products do, in units of 32 bits: the first block of each row,
//! then the second of each row. What a block has beside its values depends on the format of the weights, whose blocks
//! are as long:
//!
//! - `Q8_0`: 32 values, their scale.
//! - `Q4_K`: 256 values, 8 scales, and for the minima of the weights 8 sums of 32 values times their scale. Of each 128
//!   values the second and the third 32 are exchanged: 64 bytes of weights hold the first and the third 32 in their
//!   lower halves.

use super::QuantizedFormat;

/// Units of a block of a row.
pub(crate) const fn units_of_block(format: QuantizedFormat) -> usize {
    match format {
        QuantizedFormat::Q4K => 80,
        QuantizedFormat::Q80 => 9,
    }
}

/// Where the 32 values of a part of a `Q4_K` block lie, in bytes.
#[inline(always)]
pub(super) fn q4_k_place(part: usize) -> usize {
    const ORDER: [usize; 4] = [0, 2, 1, 3];
    part / 4 * 128 + ORDER[part % 4] * 32
}

/// Quantises rows of whole blocks into a panel of `height` rows.
#[inline(always)]
pub(crate) fn quantize_panel(format: QuantizedFormat, sources: &[&[f32]], height: usize, target: &mut [f32]) {
    let (block, units) = (format.block(), units_of_block(format));
    for (row, source) in sources.iter().enumerate() {
        for (index, source) in source.chunks_exact(block).enumerate() {
            let target = &mut target[(index * height + row) * units..][..units];
            let (values, scales) = target.split_at_mut(block / 4);
            for (part, source) in source.chunks_exact(32).enumerate() {
                let place = match format {
                    QuantizedFormat::Q4K => q4_k_place(part),
                    QuantizedFormat::Q80 => 0,
                };
                let (scale, sum) = quantize_part(source, &mut values[place / 4..][..8]);
                scales[part] = scale;
                if format == QuantizedFormat::Q4K {
                    scales[8 + part] = scale * sum as f32;
                }
            }
        }
    }
}

/// Writes 32 values of 8 bits, four a unit; gives their scale and their sum. A number that is not finite makes the
/// scale one that is not.
#[inline(always)]
fn quantize_part(source: &[f32], values: &mut [f32]) -> (f32, i32) {
    // Magnitudes order as their bits do, NaN above all.
    let highest = source.iter().fold(0, |highest, number| highest.max(number.to_bits() & 0x7fff_ffff));
    let highest = f32::from_bits(highest);
    let factor = if highest > 0.0 { 127.0 / highest } else { 0.0 };
    let mut sum = 0;
    for (value, four) in values.iter_mut().zip(source.chunks_exact(4)) {
        let mut word = 0;
        for (byte, number) in four.iter().enumerate() {
            // The sum has the rounded number, ties to even, in its lowest bits.
            let quant = (number * factor + 12_582_912.0).to_bits() as u8;
            sum += i32::from(quant as i8);
            word |= u32::from(quant) << (8 * byte);
        }
        *value = f32::from_bits(word);
    }
    (highest / 127.0, sum)
}

/// x as the kernels quantise it, for their twins. Rows are a multiple of 32 long.
pub(crate) fn quantized_rows(x: &[f32]) -> Vec<f32> {
    let part = |part: &[f32]| -> Vec<f32> {
        let highest = part.iter().fold(0.0f32, |highest, value| highest.max(value.abs()));
        let factor = if highest > 0.0 { 127.0 / highest } else { 0.0 };
        part.iter().map(|value| (value * factor).round_ties_even() * (highest / 127.0)).collect()
    };
    x.chunks(32).flat_map(part).collect()
}
