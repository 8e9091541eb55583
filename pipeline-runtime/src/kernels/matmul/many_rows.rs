//! Products of many rows, bound by arithmetic.
//!
//! A register tile reads the packed activations front to back. Weights stay where they are: a thread transposes a
//! block of them into working memory that fits the second-level cache and multiplies it with every panel of rows, so
//! memory is read once.

use super::packing::{Order, Packing};
use super::product::Product;
use super::tile::{Broadcast, tile};
use crate::kernels::simd::{Products, Simd, Units};

/// Columns of the result that a thread computes at a time: two register tiles of the widest vectors.
pub(crate) const BLOCK_OUTPUTS: usize = 96;

/// Units along the summed dimension that are packed at a time.
const BLOCK_UNITS: usize = 512;

/// Vectors side by side in a register tile.
const TILE_VECTORS: usize = 3;

/// Working memory that a [`Product`] needs for its weights, in `f32`.
pub(crate) fn weight_scratch(packing: Packing) -> usize {
    match packing.order {
        Order::Vectors => 0,
        Order::Units => BLOCK_OUTPUTS * BLOCK_UNITS,
    }
}

impl Product<'_> {
    /// The product with lanes of outputs.
    #[inline(always)]
    pub(crate) fn many_rows<S: Products, U: Units<S>, const R: usize>(
        mut self,
        simd: S,
        weight: &[U::Element],
    ) {
        assert_eq!(R, S::TILE_ROWS);
        let outputs = self.outputs.len();
        let weight = self.weight_rows(weight);
        let units = self.in_features.div_ceil(U::ELEMENTS);
        let panels = self.rows.div_ceil(R);
        assert!(outputs <= BLOCK_OUTPUTS && self.activations.len() >= panels * units * R);
        assert!(self.scratch.len() >= outputs.next_multiple_of(S::LANES) * BLOCK_UNITS.min(units));
        if units == 0 && !self.accumulate {
            // No block would write the empty sums.
            for row in 0..self.rows {
                // SAFETY: the kernel is the only user of these places; see `y`.
                unsafe { std::slice::from_raw_parts_mut(self.y.add(row * self.y_stride), outputs) }.fill(0.0);
            }
        }
        let mut unit = 0;
        while unit < units {
            let block = BLOCK_UNITS.min(units - unit);
            let mut output = 0;
            while output < outputs {
                // SAFETY: the block lies inside the rows of weights and inside the scratch, as asserted.
                unsafe {
                    let packed = self.scratch.as_mut_ptr().add(output * block);
                    self.pack_weights::<S, U>(simd, weight, output, unit, block, packed);
                }
                output += TILE_VECTORS * S::LANES;
            }
            for panel in 0..panels {
                // SAFETY: the panel lies inside the activations, as asserted.
                let rows = unsafe { self.activations.as_ptr().add((panel * units + unit) * R) };
                let mut output = 0;
                while output < outputs {
                    // SAFETY: what was packed above for these outputs and units.
                    let columns = unsafe { self.scratch.as_ptr().add(output * block) };
                    let first = panel * R;
                    match (outputs - output).div_ceil(S::LANES) {
                        1 => self.tile::<S, U, R, 1>(simd, rows, columns, block, first, output),
                        2 => self.tile::<S, U, R, 2>(simd, rows, columns, block, first, output),
                        _ => self.tile::<S, U, R, 3>(simd, rows, columns, block, first, output),
                    }
                    output += TILE_VECTORS * S::LANES;
                }
            }
            // The following blocks add to this one.
            self.accumulate = true;
            unit += block;
        }
    }

    /// Transposes the weights of up to three vectors of outputs from `output` on and `block` units from `unit` on:
    /// the vectors of a unit lie side by side. Outputs beyond the last are zero.
    ///
    /// # Safety
    /// The units are inside the rows of `weight`, and `packed` has room for `block` units of the vectors.
    #[inline(always)]
    unsafe fn pack_weights<S: Simd, U: Units<S>>(
        &self,
        simd: S,
        weight: &[U::Element],
        output: usize,
        unit: usize,
        block: usize,
        packed: *mut f32,
    ) {
        let (width, stride) = (self.in_features, self.weight_stride);
        let vectors = (self.outputs.len() - output).div_ceil(S::LANES).min(TILE_VECTORS);
        for vector in 0..vectors {
            let first = output + vector * S::LANES;
            let rows = S::LANES.min(self.outputs.len() - first);
            let mut step = 0;
            while step < block {
                let start = (unit + step) * U::ELEMENTS;
                let elements = (width - start).min((block - step) * U::ELEMENTS);
                let mut square = [simd.zero(); 16];
                // SAFETY: `first + row` is a row of the weights and `start + elements` at most its width; a whole
                // vector is read only if it has so many elements.
                unsafe {
                    let source = weight.as_ptr().add(first * stride + start);
                    if rows == S::LANES && elements >= S::LANES * U::ELEMENTS {
                        for (row, vector) in square.iter_mut().enumerate().take(S::LANES) {
                            *vector = U::load_weights(simd, source.add(row * stride));
                        }
                    } else {
                        let elements = elements.min(S::LANES * U::ELEMENTS);
                        for (row, vector) in square.iter_mut().enumerate().take(rows) {
                            *vector = U::load_weights_first(simd, source.add(row * stride), elements);
                        }
                    }
                }
                simd.transpose(&mut square);
                for (offset, column) in square.iter().enumerate().take(S::LANES.min(block - step)) {
                    let place = ((step + offset) * vectors + vector) * S::LANES;
                    // SAFETY: the caller vouches for the room.
                    unsafe { simd.store(packed.add(place), *column) };
                }
                step += S::LANES;
            }
        }
    }

    /// Writes or adds the products of the panel at `rows`, whose first row is `first`, and the packed weights at
    /// `columns`, whose first output is `output`.
    #[inline(always)]
    fn tile<S: Simd, U: Units<S>, const R: usize, const N: usize>(
        &self,
        simd: S,
        rows: *const f32,
        columns: *const f32,
        units: usize,
        first: usize,
        output: usize,
    ) {
        let rows = Broadcast { start: rows, row_stride: 1, unit_stride: R };
        // SAFETY: the caller packed `units` units of R rows and of N vectors.
        let sums = unsafe { tile::<S, U, R, N>(simd, rows, columns, N * S::LANES, units) };
        for (row, sums) in sums.into_iter().enumerate() {
            if first + row >= self.rows {
                break;
            }
            for (vector, sum) in sums.into_iter().enumerate() {
                let column = output + vector * S::LANES;
                let count = S::LANES.min(self.outputs.len() - column);
                // SAFETY: row and columns are inside what the kernel was given.
                unsafe { self.put_vector(simd, first + row, column, sum, count) }
            }
        }
    }
}
