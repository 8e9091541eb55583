//! A product of packed activations and a range of weight rows.

use std::ops::Range;

use super::packing::{Operand, Order, Packing};
use crate::kernels::MatrixRef;
use crate::kernels::simd::{F32Units, Kernel, Products, Simd, Units, WidenedBf16Units};

/// y[row, output] = or += x[row] · W[output] for a range of outputs, sums in `f32`.
pub(crate) struct Product<'a> {
    /// `rows` rows laid out by `packing`.
    pub(crate) activations: &'a [f32],
    pub(crate) packing: Packing,
    pub(crate) rows: usize,
    /// (at least outputs.end, in_features)
    pub(crate) weight: MatrixRef<'a>,
    pub(crate) in_features: usize,
    /// From a row of weights to the next, at least `in_features`.
    pub(crate) weight_stride: usize,
    /// At most [`BLOCK_OUTPUTS`](super::BLOCK_OUTPUTS) if the packing has lanes of outputs.
    pub(crate) outputs: Range<usize>,
    /// The result of row 0 and the first of `outputs`: the kernel is its only user, and of `outputs.len()` elements
    /// from there on and of as many at each multiple of `y_stride` below `rows`.
    pub(crate) y: *mut f32,
    pub(crate) y_stride: usize,
    pub(crate) accumulate: bool,
    /// A matrix of the same shape and dtype and the first of its rows that this thread will probably multiply next,
    /// to be fetched ahead; the row may be beyond the last.
    pub(crate) next: Option<(MatrixRef<'a>, usize)>,
    /// [`weight_scratch`](super::weight_scratch) elements.
    pub(crate) scratch: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        match (self.weight, self.packing.operand) {
            (MatrixRef::F32(weight), Operand::F32) => self.multiply::<S, F32Units>(simd, weight),
            (MatrixRef::Bf16(weight), Operand::WidenedBf16) => {
                self.multiply::<S, WidenedBf16Units>(simd, weight)
            }
            (MatrixRef::Bf16(weight), Operand::Bf16) => self.multiply::<S, S::Bf16>(simd, weight),
            _ => panic!("activations are packed for weights of another dtype"),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn multiply<S: Products, U: Units<S>>(self, simd: S, weight: &[U::Element]) {
        match (self.packing.order, S::TILE_ROWS) {
            (Order::Vectors, _) => self.few_rows::<S, U>(simd, weight),
            (Order::Units, 8) => self.many_rows::<S, U, 8>(simd, weight),
            (Order::Units, _) => self.many_rows::<S, U, 4>(simd, weight),
        }
    }

    /// The weight rows of `outputs`, whose first is at the start, after checking that there are as many.
    #[inline(always)]
    pub(super) fn weight_rows<'w, E>(&self, weight: &'w [E]) -> &'w [E] {
        assert!(self.weight_stride >= self.in_features);
        let start = self.outputs.start * self.weight_stride;
        match self.outputs.is_empty() {
            true => &[],
            false => &weight[start..(self.outputs.end - 1) * self.weight_stride + self.in_features],
        }
    }

    /// Writes or adds a sum.
    ///
    /// # Safety
    /// `row` is below `rows`, `output` below the number of outputs, and y is as described.
    #[inline(always)]
    pub(super) unsafe fn put(&self, row: usize, output: usize, sum: f32) {
        // SAFETY: the caller vouches for the place.
        unsafe {
            let y = self.y.add(row * self.y_stride + output);
            *y = if self.accumulate { *y + sum } else { sum };
        }
    }

    /// Writes or adds a vector of sums, the first `count` lanes.
    ///
    /// # Safety
    /// `row` is below `rows`, `output + count` at most the number of outputs, and y is as described.
    #[inline(always)]
    pub(super) unsafe fn put_vector<S: Simd>(
        &self,
        simd: S,
        row: usize,
        output: usize,
        sum: S::Vector,
        count: usize,
    ) {
        // SAFETY: the caller vouches for the places.
        unsafe {
            let y = self.y.add(row * self.y_stride + output);
            if count == S::LANES {
                simd.store(y, if self.accumulate { simd.add(simd.load(y), sum) } else { sum });
            } else {
                let sum = if self.accumulate { simd.add(simd.load_first(y, count), sum) } else { sum };
                simd.store_first(y, sum, count);
            }
        }
    }
}
