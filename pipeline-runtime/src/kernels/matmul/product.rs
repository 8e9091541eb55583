//! A product of packed activations and a range of weight rows.

use std::ops::Range;

use half::bf16;

use super::packing::{Operand, Order, Packing};
use crate::kernels::quantized::{IntegerDots, Tile, dequantize_bf16, dequantize_f32};
use crate::kernels::simd::{F32Units, Kernel, Products, Simd, Units, WidenedBf16Units};
use crate::kernels::{MatrixRef, QuantizedRef};

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
    /// [`Packing::weight_scratch`] elements.
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
            (MatrixRef::Quantized(weight), Operand::Blocks(_, dots)) => self.few_quantized(weight, dots),
            (MatrixRef::Quantized(weight), Operand::F32 | Operand::Bf16) => {
                self.many_quantized::<S>(simd, weight);
            }
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
            (Order::Blocks, _) => panic!("activations are packed for quantised weights"),
        }
    }

    /// The product with rows of 8 bits.
    fn few_quantized(self, weight: QuantizedRef<'_>, dots: IntegerDots) {
        let (format, width, height) = (weight.format(), self.in_features, self.packing.height);
        assert!(self.weight_stride == width && width.is_multiple_of(format.block()));
        assert!(self.activations.len() >= self.packing.length(self.rows, width));
        let weight = weight.bytes(self.outputs.start * width..self.outputs.end * width);
        for first in (0..self.rows).step_by(height) {
            let panel = &self.activations[first / height * self.packing.panel_length(width)..];
            let tile = Tile {
                format,
                weight: weight.as_ptr(),
                outputs: self.outputs.len(),
                blocks: width / format.block(),
                panel: panel.as_ptr(),
                height,
                // SAFETY: the first of the panel's rows, which are below `rows`.
                y: unsafe { self.y.add(first * self.y_stride) },
                y_stride: self.y_stride,
                accumulate: self.accumulate,
            };
            // SAFETY: weights and panel are as long as was asserted, and the results are this product's alone.
            unsafe { tile.multiply(dots, height.min(self.rows - first)) };
        }
    }

    /// The product with weights that become dense first: the outputs of one call fit the caches.
    #[inline(always)]
    fn many_quantized<S: Products>(mut self, simd: S, weight: QuantizedRef<'_>) {
        let (width, count) = (self.in_features, self.outputs.len());
        assert_eq!(self.weight_stride, width);
        let bytes = weight.bytes(self.outputs.start * width..self.outputs.end * width);
        let weight = QuantizedRef::new(weight.format(), bytes);
        let scratch = std::mem::take(&mut self.scratch);
        (self.outputs, self.next) = (0..count, None);
        if self.packing.operand == Operand::F32 {
            let (dense, scratch) = scratch.split_at_mut(count * width);
            dequantize_f32(weight, dense);
            Product { scratch, ..self }.multiply::<S, F32Units>(simd, dense);
        } else {
            let (dense, scratch) = scratch.split_at_mut((count * width).div_ceil(2));
            // SAFETY: as many numbers of 16 bits as the 32-bit ones have room for; any bits are a number.
            let dense =
                unsafe { std::slice::from_raw_parts_mut(dense.as_mut_ptr().cast::<bf16>(), count * width) };
            dequantize_bf16(weight, dense);
            Product { scratch, ..self }.multiply::<S, S::Bf16>(simd, dense);
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
