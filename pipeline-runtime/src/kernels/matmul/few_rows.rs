//! Products of few rows, bound by reading the weights.

use super::product::Product;
use crate::kernels::simd::{Products, Simd, Units, prefetch};

/// How far ahead of a single stream weights are asked for, in bytes: as far as a page, since the processor's own
/// prefetching ends with it.
const AHEAD: usize = 4096;

/// Chains of sums for a single row: more than the latency of an addition times additions a cycle.
const CHAINS: usize = 8;

/// Columns of the result that a thread computes at a time: about 64 Ki weights, a multiple of 32.
pub(crate) fn block_outputs(in_features: usize) -> usize {
    ((1 << 16) / in_features.max(1)).next_multiple_of(32).clamp(32, 1024)
}

impl Product<'_> {
    /// The product with lanes along the summed dimension.
    #[inline(always)]
    pub(super) fn few_rows<S: Products, U: Units<S>>(self, simd: S, weight: &[U::Element]) {
        let (height, stride) = (self.packing.height, self.weight_stride);
        assert!(height <= S::TILE_ROWS && S::TILE_ROWS <= 8);
        assert!(self.activations.len() >= self.packing.length(self.rows, self.in_features));
        let weight = self.weight_rows(weight);
        let count = self.outputs.len();
        // Wider than four rows, three weight rows are what registers hold.
        let side = if height <= 6 { 4 } else { 3 };
        let mut output = 0;
        while output < count {
            let whole = count - output >= side && height > 1;
            let weight = &weight[output * stride..];
            for row in (0..self.rows).step_by(height) {
                match (height.min(self.rows - row), whole) {
                    (1, false) => self.stream::<S, U>(simd, weight, row, output),
                    (1, true) => self.few_tile::<S, U, 1, 4>(simd, weight, row, output),
                    (2, true) => self.few_tile::<S, U, 2, 4>(simd, weight, row, output),
                    (3, true) => self.few_tile::<S, U, 3, 4>(simd, weight, row, output),
                    (4, true) => self.few_tile::<S, U, 4, 4>(simd, weight, row, output),
                    (5, true) => self.few_tile::<S, U, 5, 4>(simd, weight, row, output),
                    (6, true) if side == 4 => self.few_tile::<S, U, 6, 4>(simd, weight, row, output),
                    (6, true) => self.few_tile::<S, U, 6, 3>(simd, weight, row, output),
                    (7, true) => self.few_tile::<S, U, 7, 3>(simd, weight, row, output),
                    (8, true) => self.few_tile::<S, U, 8, 3>(simd, weight, row, output),
                    (rows, _) => {
                        for row in row..row + rows {
                            self.stream::<S, U>(simd, weight, row, output);
                        }
                    }
                }
            }
            output += if whole { side } else { 1 };
        }
    }

    /// Vector number `vector` of a packed row.
    ///
    /// # Safety
    /// The vector begins before the end of the row.
    #[inline(always)]
    unsafe fn activation<S: Simd>(&self, simd: S, panel: *const f32, row: usize, vector: usize) -> S::Vector {
        // SAFETY: the panel holds `height` rows of each vector that the rows have.
        unsafe { simd.load(panel.add((vector * self.packing.height + row) * S::LANES)) }
    }

    /// The panel of a row and the row's place in it.
    #[inline(always)]
    fn panel(&self, row: usize) -> (*const f32, usize) {
        let height = self.packing.height;
        let panel = &self.activations[row / height * self.packing.panel_length(self.in_features)..];
        (panel.as_ptr(), row % height)
    }

    /// One row times one weight row, read as one stream.
    #[inline(always)]
    fn stream<S: Products, U: Units<S>>(&self, simd: S, weight: &[U::Element], row: usize, output: usize) {
        let width = self.in_features;
        let step = S::LANES * U::ELEMENTS;
        let (panel, place) = self.panel(row);
        let weight = weight[..width].as_ptr();
        let mut sums = [simd.zero(); CHAINS];
        let mut vector = 0;
        while (vector + CHAINS) * step <= width {
            for (chain, sum) in sums.iter_mut().enumerate() {
                let vector = vector + chain;
                prefetch(weight.wrapping_add(vector * step).wrapping_byte_add(AHEAD));
                // SAFETY: the vector ends inside the weight row and begins inside the packed row.
                unsafe {
                    let weight = U::load_weights(simd, weight.add(vector * step));
                    *sum = U::multiply_add(simd, weight, self.activation(simd, panel, place, vector), *sum);
                }
            }
            vector += CHAINS;
        }
        while vector * step < width {
            // SAFETY: the weights are read as far as the row goes; the packed row has this vector.
            unsafe {
                let weight = load_rest::<S, U>(simd, weight.add(vector * step), width - vector * step);
                let activation = self.activation(simd, panel, place, vector);
                sums[0] = U::multiply_add(simd, weight, activation, sums[0]);
            }
            vector += 1;
        }
        let [a, b, c, d] = [0, 1, 2, 3].map(|chain| simd.add(sums[chain], sums[chain + 4]));
        let sum = simd.sum(simd.add(simd.add(a, b), simd.add(c, d)));
        // SAFETY: the caller gives a row and an output of the product.
        unsafe { self.put(row, output, sum) }
    }

    /// R rows from `first` on, all of one panel, times N weight rows, whose first is at the start of `weight`.
    #[inline(always)]
    fn few_tile<S: Products, U: Units<S>, const R: usize, const N: usize>(
        &self,
        simd: S,
        weight: &[U::Element],
        first: usize,
        output: usize,
    ) {
        let (width, stride) = (self.in_features, self.weight_stride);
        let step = S::LANES * U::ELEMENTS;
        let (panel, place) = self.panel(first);
        assert!(place == 0 && R <= self.packing.height && first + R <= self.rows);
        let weight = weight[..(N - 1) * stride + width].as_ptr();
        let mut sums = [[simd.zero(); N]; R];
        let mut vector = 0;
        while (vector + 1) * step <= width {
            // The N rows after these, in the order of memory.
            let ahead = weight.wrapping_add(N * stride + vector * step * N);
            // SAFETY: the vector ends inside the weight rows and begins inside the packed rows.
            unsafe {
                let weights: [S::Vector; N] = std::array::from_fn(|n| {
                    prefetch(ahead.wrapping_add(n * step));
                    U::load_weights(simd, weight.add(n * stride + vector * step))
                });
                self.add_products::<S, U, R, N>(simd, panel, vector, weights, &mut sums);
            }
            vector += 1;
        }
        if vector * step < width {
            let rest = width - vector * step;
            // SAFETY: the weights are read as far as their rows go; the packed rows have this vector.
            unsafe {
                let weights: [S::Vector; N] = std::array::from_fn(|n| {
                    U::load_weights_first(simd, weight.add(n * stride + vector * step), rest)
                });
                self.add_products::<S, U, R, N>(simd, panel, vector, weights, &mut sums);
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let sums = simd.sums(std::array::from_fn(|n| if n < N { sums[n] } else { simd.zero() }));
            for (n, sum) in sums.into_iter().enumerate().take(N) {
                // SAFETY: the caller gives rows and outputs of the product.
                unsafe { self.put(first + row, output + n, sum) }
            }
        }
    }

    /// Adds the products of one vector of R packed rows and N weight rows.
    ///
    /// # Safety
    /// The panel has the vector.
    #[inline(always)]
    unsafe fn add_products<S: Products, U: Units<S>, const R: usize, const N: usize>(
        &self,
        simd: S,
        panel: *const f32,
        vector: usize,
        weights: [S::Vector; N],
        sums: &mut [[S::Vector; N]; R],
    ) {
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller vouches for the vector.
            let activation = unsafe { self.activation(simd, panel, row, vector) };
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = U::multiply_add(simd, weight, activation, *sum);
            }
        }
    }
}

/// Reads a vector of weights of which at least one element and at most `rest` are left.
///
/// # Safety
/// `from` is valid for reading `rest` elements.
#[inline(always)]
unsafe fn load_rest<S: Simd, U: Units<S>>(simd: S, from: *const U::Element, rest: usize) -> S::Vector {
    // SAFETY: the caller vouches for `rest` elements.
    unsafe {
        match rest >= S::LANES * U::ELEMENTS {
            true => U::load_weights(simd, from),
            false => U::load_weights_first(simd, from, rest),
        }
    }
}
