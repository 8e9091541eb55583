//! Products without vector instructions of a processor's own.

use super::activations::{q4_k_place, units_of_block};
use super::dots::Tile;
use super::{QuantizedFormat, f16_at, q4_k_scales};

/// # Safety
/// As [`Tile::multiply`].
pub(super) unsafe fn q4_k<const R: usize>(tile: &Tile) {
    const BYTES: usize = 144;
    let units = units_of_block(QuantizedFormat::Q4K);
    for output in 0..tile.outputs {
        let mut sums = [0.0; R];
        for block in 0..tile.blocks {
            // SAFETY: a block of the weights, of which the tile has so many.
            let weight = unsafe {
                std::slice::from_raw_parts(tile.weight.add((output * tile.blocks + block) * BYTES), BYTES)
            };
            let (scales, minima) = q4_k_scales(weight);
            let (scale, minimum) = (f16_at(weight, 0), f16_at(weight, 2));
            for (row, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a block of the panel: 256 values, then 16 numbers.
                let (values, numbers) = unsafe {
                    let start = tile.panel.add((block * tile.height + row) * units);
                    let values = std::slice::from_raw_parts(start.cast::<i8>(), 256);
                    (values, std::slice::from_raw_parts(start.add(64), 16))
                };
                for part in 0..8 {
                    let (quants, shift) = (&weight[16 + part / 2 * 32..][..32], part % 2 * 4);
                    let values = &values[q4_k_place(part)..][..32];
                    let products = quants
                        .iter()
                        .zip(values)
                        .map(|(quant, value)| i32::from(quant >> shift & 15) * i32::from(*value));
                    let product = products.sum::<i32>() as f32;
                    *sum += scale * f32::from(scales[part]) * numbers[part] * product
                        - minimum * f32::from(minima[part]) * numbers[8 + part];
                }
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            // SAFETY: a row and an output of the tile.
            unsafe { tile.put(row, output, sum) }
        }
    }
}

/// # Safety
/// As [`Tile::multiply`].
pub(super) unsafe fn q8_0<const R: usize>(tile: &Tile) {
    const BYTES: usize = 34;
    let units = units_of_block(QuantizedFormat::Q80);
    for output in 0..tile.outputs {
        let mut sums = [0.0; R];
        for block in 0..tile.blocks {
            // SAFETY: a block of the weights, of which the tile has so many.
            let weight = unsafe {
                std::slice::from_raw_parts(tile.weight.add((output * tile.blocks + block) * BYTES), BYTES)
            };
            let scale = f16_at(weight, 0);
            for (row, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a block of the panel: 32 values, then their scale.
                let (values, x_scale) = unsafe {
                    let start = tile.panel.add((block * tile.height + row) * units);
                    (std::slice::from_raw_parts(start.cast::<i8>(), 32), *start.add(8))
                };
                let quants = weight[2..].iter().map(|&quant| i32::from(quant as i8));
                let product: i32 = quants.zip(values).map(|(quant, value)| quant * i32::from(*value)).sum();
                *sum += scale * x_scale * product as f32;
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            // SAFETY: a row and an output of the tile.
            unsafe { tile.put(row, output, sum) }
        }
    }
}
