//! Attention of several query rows, bound by arithmetic: products of register tiles over blocks of keys.

use std::ops::Range;

use super::{AttentionSequence, AttentionShape};
use crate::kernels::matmul::tile::{Broadcast, tile};
use crate::kernels::matmul::{BLOCK_OUTPUTS, PackPanel, Packing, Product, weight_scratch};
use crate::kernels::parallel::SharedSlice;
use crate::kernels::scratch::with_scratch;
use crate::kernels::simd::{F32Units, Kernel, Products, Simd};
use crate::kernels::softmax::{exponentials, largest};
use crate::kernels::{InstructionSet, MatrixRef};

/// Query rows (positions times heads of a group) that share a block of keys.
const ROWS: usize = 128;

/// Keys of a block.
const KEYS: usize = BLOCK_OUTPUTS;

/// Positions that are taken together, so that rows are about [`ROWS`].
pub(super) fn positions_at_a_time(shape: AttentionShape) -> usize {
    (ROWS / (shape.heads / shape.kv_heads)).max(1)
}

/// Attends for the queries of one group of heads, writing their heads of the output (tokens, heads, head_dim).
pub(super) fn attend(
    isa: InstructionSet,
    shape: AttentionShape,
    query: &[f32],
    sequence: &AttentionSequence<'_>,
    kv_head: usize,
    queries: Range<usize>,
    output: &SharedSlice<'_, f32>,
) {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    let group = heads / kv_heads;
    let rows = queries.len() * group;
    let place = |row: usize| {
        let token = sequence.queries.start + queries.start + row / group;
        (token * heads + kv_head * group + row % group) * head_dim
    };
    let packing = Packing::of_units(isa);
    let sizes = Sizes::new(shape, rows, packing);
    with_scratch(sizes.total(), |scratch| {
        let (packed, scratch) = scratch.split_at_mut(sizes.packed);
        let (weights, scratch) = scratch.split_at_mut(sizes.weights);
        let (scores, scratch) = scratch.split_at_mut(sizes.scores);
        let (values, scratch) = scratch.split_at_mut(sizes.values);
        let (sums, state) = scratch.split_at_mut(sizes.sums);
        for (panel, target) in packed.chunks_exact_mut(packing.panel_length(head_dim)).enumerate() {
            let first = panel * packing.height;
            let count = packing.height.min(rows - first);
            let mut sources: [&[f32]; 8] = [&[]; 8];
            for (row, source) in sources.iter_mut().enumerate().take(count) {
                *source = &query[place(first + row)..][..head_dim];
            }
            isa.run(PackPanel { sources: &sources[..count], width: head_dim, packing, target });
        }
        isa.run(Block {
            shape,
            sequence,
            kv_head,
            queries: queries.clone(),
            packing,
            packed,
            weights,
            scores,
            values,
            sums,
            state,
        });
        let (sums, totals) = (&*sums, &state[sizes.state / 2..]);
        for row in 0..rows {
            // SAFETY: no other task has these queries and this group.
            let output = unsafe { output.range(place(row)..place(row) + head_dim) };
            let factor = if totals[row] > 0.0 { 1.0 / totals[row] } else { 0.0 };
            for (output, sum) in output.iter_mut().zip(&sums[row * sizes.padded_dim..]) {
                *output = factor * sum;
            }
        }
    });
}

/// Lengths of the parts of the working memory.
struct Sizes {
    /// The queries in panels.
    packed: usize,
    /// What [`Product`] needs.
    weights: usize,
    /// (padded rows, KEYS)
    scores: usize,
    /// (KEYS, padded_dim)
    values: usize,
    /// (padded rows, padded_dim)
    sums: usize,
    /// Maxima of the rows, then sums of their exponentials.
    state: usize,
    padded_dim: usize,
}

impl Sizes {
    fn new(shape: AttentionShape, rows: usize, packing: Packing) -> Sizes {
        let padded_rows = rows.next_multiple_of(packing.height);
        let padded_dim = padded_dim(shape.head_dim);
        Sizes {
            packed: packing.length(rows, shape.head_dim),
            weights: weight_scratch(packing, MatrixRef::F32(&[]), 0),
            scores: padded_rows * KEYS,
            values: KEYS * padded_dim,
            sums: padded_rows * padded_dim,
            state: 2 * padded_rows,
            padded_dim,
        }
    }

    fn total(&self) -> usize {
        self.packed + self.weights + self.scores + self.values + self.sums + self.state
    }
}

/// The elements of a head rounded up to whole vectors of any instruction set.
fn padded_dim(head_dim: usize) -> usize {
    head_dim.next_multiple_of(16)
}

/// All blocks of keys for the rows of one group; the parts of the working memory are described in [`Sizes`].
struct Block<'a> {
    shape: AttentionShape,
    sequence: &'a AttentionSequence<'a>,
    kv_head: usize,
    queries: Range<usize>,
    packing: Packing,
    packed: &'a [f32],
    weights: &'a mut [f32],
    scores: &'a mut [f32],
    values: &'a mut [f32],
    sums: &'a mut [f32],
    state: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        match S::TILE_ROWS {
            8 => self.attend::<S, 8>(simd),
            _ => self.attend::<S, 4>(simd),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn attend<S: Products, const R: usize>(mut self, simd: S) {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let stride = kv_heads * head_dim;
        let rows = self.queries.len() * (heads / kv_heads);
        let half = self.state.len() / 2;
        self.state[..half].fill(f32::NEG_INFINITY);
        self.state[half..].fill(0.0);
        self.sums.fill(0.0);
        let first = self.shape.visible(self.sequence, self.queries.start).start;
        let last = self.shape.visible(self.sequence, self.queries.end - 1).end;
        let keys = &self.sequence.keys[self.kv_head * head_dim..];
        for start in (first..last).step_by(KEYS) {
            let block = start..last.min(start + KEYS);
            let product = Product {
                activations: self.packed,
                packing: self.packing,
                rows,
                weight: MatrixRef::F32(keys),
                in_features: head_dim,
                weight_stride: stride,
                outputs: block.clone(),
                y: self.scores.as_mut_ptr(),
                y_stride: KEYS,
                accumulate: false,
                next: Some((MatrixRef::F32(keys), block.end)),
                scratch: &mut *self.weights,
            };
            product.many_rows::<S, F32Units, R>(simd, keys);
            self.soften(simd, block.clone());
            self.copy_values(simd, block.clone());
            self.add_values::<S, R>(simd, rows, block.len());
        }
    }

    /// Turns the scores of a block of keys into exponentials relative to the largest score so far, and scales what
    /// was summed relative to an earlier one.
    #[inline(always)]
    fn soften<S: Simd>(&mut self, simd: S, block: Range<usize>) {
        let group = self.shape.heads / self.shape.kv_heads;
        let padded_dim = padded_dim(self.shape.head_dim);
        let (maxima, totals) = self.state.split_at_mut(self.state.len() / 2);
        let scale = simd.splat(self.shape.scale);
        for query in self.queries.clone() {
            let visible = self.shape.visible(self.sequence, query);
            let seen_start = visible.start.clamp(block.start, block.end) - block.start;
            let seen_end = visible.end.clamp(block.start, block.end) - block.start;
            let seen = seen_start..seen_end.max(seen_start);
            for row in (query - self.queries.start) * group..(query - self.queries.start + 1) * group {
                let scores = &mut self.scores[row * KEYS..][..block.len()];
                scores[..seen.start].fill(0.0);
                scores[seen.end..].fill(0.0);
                let scores = &mut scores[seen.clone()];
                for scores in scores.chunks_mut(S::LANES) {
                    simd.store_short(scores, simd.multiply(simd.load_short(scores), scale));
                }
                if let Some(mask) = self.sequence.key_mask {
                    let mask = &mask[block.start + seen.start..block.start + seen.end];
                    for (score, seen) in scores.iter_mut().zip(mask) {
                        if !seen {
                            *score = f32::NEG_INFINITY;
                        }
                    }
                }
                let highest = maxima[row].max(largest(simd, scores));
                if highest == f32::NEG_INFINITY {
                    scores.fill(0.0);
                    continue;
                }
                if highest > maxima[row] {
                    let factor = (maxima[row] - highest).exp();
                    maxima[row] = highest;
                    totals[row] *= factor;
                    let factor = simd.splat(factor);
                    for sum in self.sums[row * padded_dim..][..padded_dim].chunks_exact_mut(S::LANES) {
                        simd.store_slice(sum, simd.multiply(simd.load_slice(sum), factor));
                    }
                }
                totals[row] += exponentials(simd, scores, highest);
            }
        }
    }

    /// Copies the values of a block of keys, each padded with zeros to whole vectors.
    #[inline(always)]
    fn copy_values<S: Simd>(&mut self, simd: S, block: Range<usize>) {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let padded_dim = padded_dim(head_dim);
        for (target, key) in self.values.chunks_exact_mut(padded_dim).zip(block) {
            let source = &self.sequence.values[(key * kv_heads + self.kv_head) * head_dim..][..head_dim];
            let (whole, rest) = target.split_at_mut(head_dim);
            for (target, source) in whole.chunks_mut(S::LANES).zip(source.chunks(S::LANES)) {
                simd.store_short(target, simd.load_short(source));
            }
            rest.fill(0.0);
        }
    }

    /// sums += scores · values over `keys` keys.
    #[inline(always)]
    fn add_values<S: Simd, const R: usize>(&mut self, simd: S, rows: usize, keys: usize) {
        let padded_dim = padded_dim(self.shape.head_dim);
        for first in (0..rows).step_by(R) {
            let mut i = 0;
            while i < padded_dim {
                match (padded_dim - i) / S::LANES {
                    1 => self.add_tile::<S, R, 1>(simd, first, i, keys),
                    2 => self.add_tile::<S, R, 2>(simd, first, i, keys),
                    _ => self.add_tile::<S, R, 3>(simd, first, i, keys),
                }
                i += 3 * S::LANES;
            }
        }
    }

    /// [`add_values`](Self::add_values) for R rows from `first` on and N vectors from element `i` on.
    #[inline(always)]
    fn add_tile<S: Simd, const R: usize, const N: usize>(
        &mut self,
        simd: S,
        first: usize,
        i: usize,
        keys: usize,
    ) {
        let padded_dim = padded_dim(self.shape.head_dim);
        let scores = &self.scores[first * KEYS..(first + R) * KEYS];
        let values = &self.values[..keys * padded_dim];
        let sums = &mut self.sums[first * padded_dim..(first + R) * padded_dim];
        assert!(keys <= KEYS && i + N * S::LANES <= padded_dim);
        let rows = Broadcast { start: scores.as_ptr(), row_stride: KEYS, unit_stride: 1 };
        // SAFETY: the slices hold R rows of scores and `keys` rows of values, N vectors of which end inside a row.
        let products = unsafe {
            let values = values.as_ptr().wrapping_add(i);
            tile::<S, F32Units, R, N>(simd, rows, values, padded_dim, keys, [[simd.zero(); N]; R])
        };
        for (row, products) in products.into_iter().enumerate() {
            for (n, product) in products.into_iter().enumerate() {
                let sum = &mut sums[row * padded_dim + i + n * S::LANES..][..S::LANES];
                simd.store_slice(sum, simd.add(simd.load_slice(sum), product));
            }
        }
    }
}
