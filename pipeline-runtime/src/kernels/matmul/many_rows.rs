//! Products of many rows, bound by arithmetic.
//!
//! A register tile reads the packed activations front to back. Weights stay where they are: a thread transposes a
//! block of them into working memory that fits the second-level cache and multiplies it with every panel of rows, so
//! memory is read once.

use super::packing::{Operand, Order, Packing};
use super::product::Product;
use super::tile::{Broadcast, tile};
use crate::kernels::MatrixRef;
use crate::kernels::simd::{Products, Simd, Units, prefetch_second_level};

/// Columns of the result that a thread computes at a time: two register tiles of the widest vectors.
pub(crate) const BLOCK_OUTPUTS: usize = 96;

/// Units along the summed dimension that are packed at a time.
const BLOCK_UNITS: usize = 512;

/// Units that a tile multiplies before weights of the next block are asked for.
const UNITS_BETWEEN_FETCHES: usize = 32;

/// Vectors side by side in a register tile.
const TILE_VECTORS: usize = 3;

/// Working memory that a [`Product`] needs for its weights, rows of `width` elements, in `f32`.
pub(crate) fn weight_scratch(packing: Packing, weight: MatrixRef<'_>, width: usize) -> usize {
    let dense = match (weight, packing.operand) {
        (MatrixRef::Quantized(_), Operand::Bf16) => (BLOCK_OUTPUTS * width).div_ceil(2),
        (MatrixRef::Quantized(_), _) => BLOCK_OUTPUTS * width,
        _ => 0,
    };
    match packing.order {
        Order::Vectors | Order::Blocks => 0,
        Order::Units => dense + BLOCK_OUTPUTS * BLOCK_UNITS,
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
            let mut ahead = self.next_weights::<S, U>(weight, unit + block, units, panels);
            for panel in 0..panels {
                // SAFETY: the panel lies inside the activations, as asserted.
                let rows = unsafe { self.activations.as_ptr().add((panel * units + unit) * R) };
                let mut output = 0;
                while output < outputs {
                    // SAFETY: what was packed above for these outputs and units.
                    let columns = unsafe { self.scratch.as_ptr().add(output * block) };
                    let place = Place { rows, columns, units: block, first: panel * R, output };
                    let ahead = &mut ahead;
                    match ((outputs - output).div_ceil(S::LANES), self.rows - panel * R) {
                        (1, _) => self.many_tile::<S, U, R, 1>(simd, place, ahead),
                        (2, _) => self.many_tile::<S, U, R, 2>(simd, place, ahead),
                        // A last panel of few rows, as experts often have, in less time than a whole one.
                        (_, 1..=2) => self.many_tile::<S, U, 2, 3>(simd, place, ahead),
                        (_, 3..=4) => self.many_tile::<S, U, 4, 3>(simd, place, ahead),
                        (_, 5..=6) if R == 8 => self.many_tile::<S, U, 6, 3>(simd, place, ahead),
                        _ => self.many_tile::<S, U, R, 3>(simd, place, ahead),
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
                let place = (step * vectors + vector) * S::LANES;
                let mut square = [simd.zero(); 16];
                // SAFETY: `first + row` is a row of the weights and `start + elements` at most its width; a whole
                // vector is read only if it has so many elements. The caller vouches for the room in `packed`.
                unsafe {
                    let mut source = weight.as_ptr().add(first * stride + start);
                    let mut target = packed.add(place);
                    // Loops of constant length keep the square in registers.
                    if rows == S::LANES && elements >= S::LANES * U::ELEMENTS {
                        for vector in square.iter_mut().take(S::LANES) {
                            *vector = U::load_weights(simd, source);
                            source = source.wrapping_add(stride);
                        }
                        simd.transpose(&mut square);
                        for column in square.into_iter().take(S::LANES) {
                            simd.store(target, column);
                            target = target.wrapping_add(vectors * S::LANES);
                        }
                    } else {
                        let elements = elements.min(S::LANES * U::ELEMENTS);
                        for vector in square.iter_mut().take(rows) {
                            *vector = U::load_weights_first(simd, source, elements);
                            source = source.wrapping_add(stride);
                        }
                        simd.transpose(&mut square);
                        for column in square.into_iter().take(S::LANES.min(block - step)) {
                            simd.store(target, column);
                            target = target.wrapping_add(vectors * S::LANES);
                        }
                    }
                }
                step += S::LANES;
            }
        }
    }

    /// Writes or adds the products of the first R rows of a panel and N vectors of outputs.
    #[inline(always)]
    fn many_tile<S: Products, U: Units<S>, const R: usize, const N: usize>(
        &self,
        simd: S,
        Place { rows, columns, units, first, output }: Place,
        ahead: &mut Ahead,
    ) {
        let mut sums = [[simd.zero(); N]; R];
        let mut unit = 0;
        while unit < units {
            ahead.fetch();
            let count = UNITS_BETWEEN_FETCHES.min(units - unit);
            // SAFETY: the caller packed `units` units of a panel, of at least R rows, and of N vectors.
            unsafe {
                let start = rows.add(unit * S::TILE_ROWS);
                let rows = Broadcast { start, row_stride: 1, unit_stride: S::TILE_ROWS };
                let columns = columns.add(unit * N * S::LANES);
                sums = tile::<S, U, R, N>(simd, rows, columns, N * S::LANES, count, sums);
            }
            unit += count;
        }
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

    /// The weights of the block that begins at `unit`, to be fetched while this one is multiplied.
    #[inline(always)]
    fn next_weights<S: Simd, U: Units<S>>(
        &self,
        weight: &[U::Element],
        unit: usize,
        units: usize,
        panels: usize,
    ) -> Ahead {
        let outputs = self.outputs.len();
        let (row, block) = match self.next {
            _ if unit < units => (weight.as_ptr().wrapping_add(unit * U::ELEMENTS).cast(), units - unit),
            Some((next, row)) => (next.address(row * self.weight_stride), units),
            None => (std::ptr::null(), 0),
        };
        let length = (block.min(BLOCK_UNITS) * U::ELEMENTS * size_of::<U::Element>()).div_ceil(LINE) * LINE;
        let tiles = panels * outputs.div_ceil(TILE_VECTORS * S::LANES);
        let fetches = tiles * BLOCK_UNITS / UNITS_BETWEEN_FETCHES;
        Ahead {
            row,
            stride: self.weight_stride * size_of::<U::Element>(),
            length,
            rows: if length == 0 { 0 } else { outputs },
            offset: 0,
            lines: (outputs * length / LINE).div_ceil(fetches),
        }
    }
}

/// What a tile multiplies.
#[derive(Clone, Copy)]
struct Place {
    /// The first unit of the panel.
    rows: *const f32,
    /// The first unit of the packed weights.
    columns: *const f32,
    units: usize,
    /// The first row of the panel.
    first: usize,
    /// The first output of the packed weights.
    output: usize,
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Weights that are brought into the second-level cache, some lines at a time.
struct Ahead {
    /// The row that is being fetched.
    row: *const u8,
    /// From a row to the next, in bytes.
    stride: usize,
    /// Bytes of a row, a multiple of a line.
    length: usize,
    /// Rows that are left, this one included.
    rows: usize,
    /// Bytes of this row that have been fetched.
    offset: usize,
    /// Lines of one fetch.
    lines: usize,
}

impl Ahead {
    #[inline(always)]
    fn fetch(&mut self) {
        let mut lines = self.lines;
        while lines > 0 && self.rows > 0 {
            let run = lines.min((self.length - self.offset) / LINE);
            let start = self.row.wrapping_add(self.offset);
            for line in 0..run {
                prefetch_second_level(start.wrapping_add(line * LINE));
            }
            lines -= run;
            self.offset += run * LINE;
            if self.offset == self.length {
                self.offset = 0;
                self.rows -= 1;
                self.row = self.row.wrapping_add(self.stride);
            }
        }
    }
}
