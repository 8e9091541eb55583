//! Products of few rows, bound by reading the weights.

use super::product::Product;
use crate::kernels::simd::{Products, Simd, Units, prefetch};

/// Bytes that memory is read by.
const CACHE_LINE: usize = 64;

/// How far ahead of each stream weights are asked for, in bytes: across the end of a page, where the processor's own
/// prefetching stops.
const AHEAD: usize = 1024;

/// Chains of sums for a single row: more than the latency of an addition times additions a cycle.
const CHAINS: usize = 8;

/// Columns of the result that a thread computes at a time: about 64 Ki weights, a multiple of 32.
pub(crate) fn block_outputs(in_features: usize) -> usize {
    ((1 << 16) / in_features.max(1)).next_multiple_of(32).clamp(32, 1024)
}

impl Product<'_> {
    /// The product with lanes along the summed dimension.
    ///
    /// The weight rows are read as a few streams at a time, each through a run of rows that follow each other: one
    /// activation serves all streams, and each of them is read in the order of memory from block's start to end.
    #[inline(always)]
    pub(super) fn few_rows<S: Products, U: Units<S>>(self, simd: S, weight: &[U::Element]) {
        let (height, stride) = (self.packing.height, self.weight_stride);
        assert!(height <= S::TILE_ROWS && S::TILE_ROWS <= 8);
        assert!(self.activations.len() >= self.packing.length(self.rows, self.in_features));
        let weight = self.weight_rows(weight);
        let count = self.outputs.len();
        // Wider than six rows, three weight rows are what registers hold.
        let streams = if height <= 6 { 4 } else { 3 };
        let run = count / streams;
        for output in 0..run {
            let weight = &weight[output * stride..];
            for row in (0..self.rows).step_by(height) {
                match (height.min(self.rows - row), streams) {
                    (1, _) => self.tile::<S, U, 1, 4>(simd, weight, row, output, run),
                    (2, _) => self.tile::<S, U, 2, 4>(simd, weight, row, output, run),
                    (3, _) => self.tile::<S, U, 3, 4>(simd, weight, row, output, run),
                    (4, _) => self.tile::<S, U, 4, 4>(simd, weight, row, output, run),
                    (5, _) => self.tile::<S, U, 5, 4>(simd, weight, row, output, run),
                    (6, 4) => self.tile::<S, U, 6, 4>(simd, weight, row, output, run),
                    (6, _) => self.tile::<S, U, 6, 3>(simd, weight, row, output, run),
                    (7, _) => self.tile::<S, U, 7, 3>(simd, weight, row, output, run),
                    (8, _) => self.tile::<S, U, 8, 3>(simd, weight, row, output, run),
                    (rows, _) => unreachable!("a panel has at most 8 rows, not {rows}"),
                }
            }
        }
        for output in streams * run..count {
            for row in 0..self.rows {
                self.single::<S, U>(simd, &weight[output * stride..], row, output);
            }
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

    /// One row times one weight row.
    #[inline(always)]
    fn single<S: Products, U: Units<S>>(&self, simd: S, weight: &[U::Element], row: usize, output: usize) {
        let width = self.in_features;
        let step = S::LANES * U::ELEMENTS;
        let (panel, place) = self.panel(row);
        let weight = weight[..width].as_ptr();
        let mut sums = [simd.zero(); CHAINS];
        let mut vector = 0;
        while (vector + CHAINS) * step <= width {
            for (chain, sum) in sums.iter_mut().enumerate() {
                let vector = vector + chain;
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

    /// R rows from `first` on, all of one panel, times N weight rows, which are `run` rows apart and the first of
    /// which is at the start of `weight`.
    #[inline(always)]
    fn tile<S: Products, U: Units<S>, const R: usize, const N: usize>(
        &self,
        simd: S,
        weight: &[U::Element],
        first: usize,
        output: usize,
        run: usize,
    ) {
        let (width, stride) = (self.in_features, self.weight_stride * run);
        let step = S::LANES * U::ELEMENTS;
        let vectors_a_line = (CACHE_LINE / (step * size_of::<U::Element>())).max(1);
        let (panel, place) = self.panel(first);
        assert!(place == 0 && R <= self.packing.height && first + R <= self.rows);
        let weight = weight[..(N - 1) * stride + width].as_ptr();
        let mut sums = [[simd.zero(); N]; R];
        let mut vector = 0;
        while (vector + 1) * step <= width {
            // SAFETY: the vector ends inside the weight rows and begins inside the packed rows.
            unsafe {
                let weights: [S::Vector; N] = std::array::from_fn(|n| {
                    let weight = weight.add(n * stride + vector * step);
                    if vector % vectors_a_line == 0 {
                        prefetch(weight.wrapping_byte_add(AHEAD));
                    }
                    U::load_weights(simd, weight)
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
                unsafe { self.put(first + row, output + n * run, sum) }
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
