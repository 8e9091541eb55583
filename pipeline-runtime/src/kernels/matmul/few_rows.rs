//! Products of few rows, bound by reading the weights.

use std::ops::Range;

use crate::kernels::MatrixRef;
use crate::kernels::simd::{Element, Kernel, Products, Simd, prefetch};

/// Weight rows that are read side by side.
const SIDE_BY_SIDE: usize = 4;

/// Columns of the result that a thread computes at a time: about 64 Ki weights.
pub(crate) fn block_outputs(in_features: usize) -> usize {
    ((1 << 16) / in_features.max(1)).next_multiple_of(SIDE_BY_SIDE).clamp(SIDE_BY_SIDE, 1024)
}

/// y[row, output] = or += x[row] · W[output] for a range of outputs, sums in `f32`.
pub(crate) struct FewRows<'a> {
    /// (rows, in_features)
    pub(crate) x: &'a [f32],
    pub(crate) rows: usize,
    /// (at least outputs.end, in_features)
    pub(crate) weight: MatrixRef<'a>,
    pub(crate) in_features: usize,
    pub(crate) outputs: Range<usize>,
    /// The result of row 0 and the first of `outputs`: the kernel is its only user, and of `outputs.len()` elements
    /// from there on and of as many at each multiple of `y_stride` below `rows`.
    pub(crate) y: *mut f32,
    pub(crate) y_stride: usize,
    pub(crate) accumulate: bool,
}

impl Kernel for FewRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        match self.weight {
            MatrixRef::F32(weight) => self.products(simd, weight),
            MatrixRef::Bf16(weight) => self.products(simd, weight),
        }
    }
}

impl FewRows<'_> {
    #[inline(always)]
    fn products<S: Simd, E: Element>(&self, simd: S, weight: &[E]) {
        let weight = &weight[self.outputs.start * self.in_features..self.outputs.end * self.in_features];
        assert!(self.x.len() >= self.rows * self.in_features);
        let count = self.outputs.len();
        let mut output = 0;
        while output < count {
            let side = SIDE_BY_SIDE.min(count - output);
            let weight = &weight[output * self.in_features..(output + side) * self.in_features];
            let mut row = 0;
            while row < self.rows {
                let rows = (self.rows - row).min(4);
                match (rows, side) {
                    (4, SIDE_BY_SIDE) => self.tile::<S, E, 4, SIDE_BY_SIDE>(simd, weight, row, output),
                    (3, SIDE_BY_SIDE) => self.tile::<S, E, 3, SIDE_BY_SIDE>(simd, weight, row, output),
                    (2, SIDE_BY_SIDE) => self.tile::<S, E, 2, SIDE_BY_SIDE>(simd, weight, row, output),
                    (1, SIDE_BY_SIDE) => self.tile::<S, E, 1, SIDE_BY_SIDE>(simd, weight, row, output),
                    _ => {
                        for offset in 0..side {
                            let weight = &weight[offset * self.in_features..(offset + 1) * self.in_features];
                            for row in row..row + rows {
                                self.tile::<S, E, 1, 1>(simd, weight, row, output + offset);
                            }
                        }
                    }
                }
                row += rows;
            }
            output += side;
        }
    }

    /// R rows from `row` on times the N rows of `weight`, which are the outputs from `output` on.
    #[inline(always)]
    fn tile<S: Simd, E: Element, const R: usize, const N: usize>(
        &self,
        simd: S,
        weight: &[E],
        row: usize,
        output: usize,
    ) {
        let width = self.in_features;
        assert!(weight.len() == N * width && row + R <= self.rows && output + N <= self.outputs.len());
        let x = self.x[row * width..(row + R) * width].as_ptr();
        let weight = weight.as_ptr();
        let mut sums = [[simd.zero(); N]; R];
        let whole = width / S::LANES * S::LANES;
        let mut k = 0;
        while k < whole {
            // SAFETY: `k + LANES <= width`, so each read stays inside its row of x or of the weights.
            unsafe {
                let weights: [S::Vector; N] = std::array::from_fn(|n| {
                    prefetch(weight.wrapping_add((N + n) * width + k));
                    E::load(simd, weight.add(n * width + k))
                });
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = simd.load(x.add(r * width + k));
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = simd.multiply_add(weight, x, *sum);
                    }
                }
            }
            k += S::LANES;
        }
        if k < width {
            let rest = width - k;
            // SAFETY: `k + rest == width`.
            unsafe {
                let weights: [S::Vector; N] =
                    std::array::from_fn(|n| E::load_first(simd, weight.add(n * width + k), rest));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = simd.load_first(x.add(r * width + k), rest);
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = simd.multiply_add(weight, x, *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                let sum = simd.sum(sum);
                // SAFETY: row and output are inside what the kernel was given; see `y`.
                unsafe {
                    let y = self.y.add((row + r) * self.y_stride + output + n);
                    *y = if self.accumulate { *y + sum } else { sum };
                }
            }
        }
    }
}
