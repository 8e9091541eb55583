//! Products of many rows, bound by arithmetic.
//!
//! Activations are laid out once in panels of [`Packing::tile_rows`] rows, unit by unit, so that a register tile
//! reads them front to back. Weights stay where they are: a thread transposes a block of them into working memory
//! that fits the second-level cache and multiplies it with every panel, so memory is read once.

use std::ops::Range;

use crate::kernels::simd::{F32Units, Kernel, Products, Simd, Units};
use crate::kernels::{InstructionSet, MatrixRef};

use super::tile::{Broadcast, tile};

/// Columns of the result that a thread computes at a time: two register tiles of the widest vectors.
pub(crate) const BLOCK_OUTPUTS: usize = 96;

/// Units along the summed dimension that are packed at a time.
const BLOCK_UNITS: usize = 512;

/// Vectors side by side in a register tile.
const TILE_VECTORS: usize = 3;

/// Working memory that a [`PackedProduct`] needs for its weights, in `f32`.
pub(crate) fn weight_scratch() -> usize {
    BLOCK_OUTPUTS * BLOCK_UNITS
}

/// How activations are laid out for the weights of a dtype.
///
/// Panels of `tile_rows` rows follow each other. In a panel, unit 0 of each row comes first, then unit 1 of each
/// row; rows that a last panel lacks are zero. A unit is 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    /// Rows of a panel, at most 8.
    pub(crate) tile_rows: usize,
    /// Elements of a unit.
    pub(crate) unit_elements: usize,
    bf16: bool,
}

impl Packing {
    /// The packing for products with `weight`.
    pub(crate) fn of(isa: InstructionSet, weight: MatrixRef<'_>) -> Packing {
        struct Describe(bool);
        impl Kernel for Describe {
            type Output = Packing;
            #[inline(always)]
            fn run<S: Products>(self, _: S) -> Packing {
                let unit_elements = if self.0 { S::Bf16::ELEMENTS } else { 1 };
                Packing { tile_rows: S::TILE_ROWS, unit_elements, bf16: self.0 }
            }
        }
        isa.run(Describe(matches!(weight, MatrixRef::Bf16(_))))
    }

    /// The length of a panel of rows of `width` elements, in units.
    pub(crate) fn panel_length(self, width: usize) -> usize {
        width.div_ceil(self.unit_elements) * self.tile_rows
    }

    /// The length of `rows` packed rows, in units.
    pub(crate) fn length(self, rows: usize, width: usize) -> usize {
        rows.div_ceil(self.tile_rows) * self.panel_length(width)
    }
}

/// Lays out one panel, or a run of units inside one.
pub(crate) struct PackPanel<'a> {
    /// At most `tile_rows` rows of `width` elements.
    pub(crate) sources: &'a [&'a [f32]],
    pub(crate) width: usize,
    pub(crate) packing: Packing,
    /// `packing.panel_length(width)` units.
    pub(crate) target: &'a mut [f32],
}

impl Kernel for PackPanel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        match self.packing.bf16 {
            false => self.pack::<S, F32Units>(simd),
            true => self.pack::<S, S::Bf16>(simd),
        }
    }
}

impl PackPanel<'_> {
    #[inline(always)]
    pub(crate) fn pack<S: Products, U: Units<S>>(self, simd: S) {
        let PackPanel { sources, width, target, .. } = self;
        let units = width.div_ceil(U::ELEMENTS);
        assert!(sources.len() <= S::TILE_ROWS && target.len() == units * S::TILE_ROWS);
        assert!(sources.iter().all(|source| source.len() == width));
        let mut unit = 0;
        while unit < units {
            let start = unit * U::ELEMENTS;
            let mut square = [simd.zero(); 16];
            for (row, source) in square.iter_mut().zip(sources) {
                // SAFETY: `start < width`, the length of every source; a whole vector is read only before it ends.
                *row = unsafe {
                    let source = source.as_ptr().add(start);
                    match width - start >= S::LANES * U::ELEMENTS {
                        true => U::load_activations(simd, source),
                        false => U::load_activations_first(simd, source, width - start),
                    }
                };
            }
            simd.transpose(&mut square);
            for (offset, column) in square.into_iter().enumerate().take(S::LANES.min(units - unit)) {
                let place = (unit + offset) * S::TILE_ROWS;
                simd.store_short(&mut target[place..place + S::TILE_ROWS], column);
            }
            unit += S::LANES;
        }
    }
}

/// y[row, output] = or += x[row] · W[output] for a range of at most [`BLOCK_OUTPUTS`] outputs, sums in `f32`.
pub(crate) struct PackedProduct<'a> {
    /// `rows` rows laid out by the [`Packing`] of the weights.
    pub(crate) activations: &'a [f32],
    pub(crate) rows: usize,
    /// (at least outputs.end, in_features)
    pub(crate) weight: MatrixRef<'a>,
    pub(crate) in_features: usize,
    /// From a row of weights to the next, at least `in_features`.
    pub(crate) weight_stride: usize,
    pub(crate) outputs: Range<usize>,
    /// The result of row 0 and the first of `outputs`: the kernel is its only user, and of `outputs.len()` elements
    /// from there on and of as many at each multiple of `y_stride` below `rows`.
    pub(crate) y: *mut f32,
    pub(crate) y_stride: usize,
    pub(crate) accumulate: bool,
    /// [`weight_scratch`] elements.
    pub(crate) scratch: &'a mut [f32],
}

impl Kernel for PackedProduct<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        match (self.weight, S::TILE_ROWS) {
            (MatrixRef::F32(weight), 8) => self.product::<S, F32Units, 8>(simd, weight),
            (MatrixRef::F32(weight), _) => self.product::<S, F32Units, 4>(simd, weight),
            (MatrixRef::Bf16(weight), 8) => self.product::<S, S::Bf16, 8>(simd, weight),
            (MatrixRef::Bf16(weight), _) => self.product::<S, S::Bf16, 4>(simd, weight),
        }
    }
}

impl PackedProduct<'_> {
    #[inline(always)]
    pub(crate) fn product<S: Products, U: Units<S>, const R: usize>(
        mut self,
        simd: S,
        weight: &[U::Element],
    ) {
        assert_eq!(R, S::TILE_ROWS);
        let outputs = self.outputs.len();
        assert!(self.weight_stride >= self.in_features);
        let end = self.outputs.end.saturating_sub(1) * self.weight_stride + self.in_features;
        let weight = &weight
            [self.outputs.start * self.weight_stride..end.max(self.outputs.start * self.weight_stride)];
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
                // SAFETY: row and columns are inside what the kernel was given; see `y`.
                unsafe {
                    let y = self.y.add((first + row) * self.y_stride + column);
                    if count == S::LANES {
                        let sum = if self.accumulate { simd.add(simd.load(y), sum) } else { sum };
                        simd.store(y, sum);
                    } else {
                        let sum =
                            if self.accumulate { simd.add(simd.load_first(y, count), sum) } else { sum };
                        simd.store_first(y, sum, count);
                    }
                }
            }
        }
    }
}
