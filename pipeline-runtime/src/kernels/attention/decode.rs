//! Attention of a single query row, bound by reading keys and values.
//!
//! A chunk of keys is read from front to back for all heads, then a chunk of values: the layout (context, kv_heads,
//! head_dim) makes both one stream. Every chunk leaves maximum, sum and weighted values of each head; the chunks
//! are combined in their order.

use std::ops::Range;

use super::{AttentionSequence, AttentionShape};
use crate::kernels::InstructionSet;
use crate::kernels::scratch::with_scratch;
use crate::kernels::simd::{Kernel, Products, Simd, prefetch};
use crate::kernels::softmax::{exponentials, largest};

/// Keys of a chunk.
const CHUNK: usize = 256;

/// Values that are added while sums of a head are in registers.
const VALUES_AT_A_TIME: usize = 8;

/// The chunks of a range of keys.
pub(super) fn chunks(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    keys.clone().step_by(CHUNK).map(move |start| start..keys.end.min(start + CHUNK))
}

/// The length of a chunk's result: weighted values (heads, head_dim), then maxima (heads), then sums (heads).
pub(super) fn partial_length(shape: AttentionShape) -> usize {
    shape.heads * (shape.head_dim + 2)
}

/// Attends to one chunk of at most [`CHUNK`] keys; query is (heads, head_dim).
pub(super) fn attend(
    isa: InstructionSet,
    shape: AttentionShape,
    query: &[f32],
    sequence: &AttentionSequence<'_>,
    keys: Range<usize>,
    partial: &mut [f32],
) {
    let width = shape.kv_heads * shape.head_dim;
    let elements = keys.start * width..keys.end * width;
    with_scratch(shape.heads * CHUNK, |scores| {
        isa.run(Chunk {
            shape,
            query,
            keys: &sequence.keys[elements.clone()],
            values: &sequence.values[elements],
            mask: sequence.key_mask.map(|mask| &mask[keys.clone()]),
            count: keys.len(),
            scores,
            partial,
        });
    });
}

/// Combines the results of all chunks into output (heads, head_dim).
pub(super) fn combine(isa: InstructionSet, shape: AttentionShape, partials: &[f32], output: &mut [f32]) {
    isa.run(Combine { shape, partials, output });
}

struct Chunk<'a> {
    shape: AttentionShape,
    /// (heads, head_dim)
    query: &'a [f32],
    /// (count, kv_heads, head_dim)
    keys: &'a [f32],
    /// (count, kv_heads, head_dim)
    values: &'a [f32],
    mask: Option<&'a [bool]>,
    count: usize,
    /// (heads, CHUNK)
    scores: &'a mut [f32],
    /// See [`partial_length`].
    partial: &'a mut [f32],
}

impl Kernel for Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(mut self, simd: S) {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let (count, width) = (self.count, kv_heads * head_dim);
        assert!(count <= CHUNK && self.scores.len() == heads * CHUNK);
        assert!(self.query.len() == heads * head_dim && self.partial.len() == partial_length(self.shape));
        assert!(self.keys.len() == count * width && self.values.len() == count * width);
        let group = heads / kv_heads;
        for key in (0..count).step_by(4) {
            for kv_head in 0..kv_heads {
                let mut head = kv_head * group;
                let end = head + group;
                while head < end {
                    let four_keys = count - key >= 4;
                    match (end - head, four_keys) {
                        (4.., true) => self.scores::<S, 4, 4>(simd, kv_head, head, key),
                        (2.., true) => self.scores::<S, 2, 4>(simd, kv_head, head, key),
                        (_, true) => self.scores::<S, 1, 4>(simd, kv_head, head, key),
                        (_, false) => {
                            for key in key..count {
                                self.scores::<S, 1, 1>(simd, kv_head, head, key);
                            }
                        }
                    }
                    head += match (end - head, four_keys) {
                        (_, false) => 1,
                        (4.., true) => 4,
                        (2.., true) => 2,
                        (_, true) => 1,
                    };
                }
            }
        }
        self.weights(simd);
        self.partial[..heads * head_dim].fill(0.0);
        for key in (0..count).step_by(VALUES_AT_A_TIME) {
            let keys = key..count.min(key + VALUES_AT_A_TIME);
            for kv_head in 0..kv_heads {
                let mut head = kv_head * group;
                let end = head + group;
                while head < end {
                    let rows = match end - head {
                        4.. => {
                            self.add_values::<S, 4>(simd, kv_head, head, keys.clone());
                            4
                        }
                        2.. => {
                            self.add_values::<S, 2>(simd, kv_head, head, keys.clone());
                            2
                        }
                        _ => {
                            self.add_values::<S, 1>(simd, kv_head, head, keys.clone());
                            1
                        }
                    };
                    head += rows;
                }
            }
        }
    }
}

impl Chunk<'_> {
    /// scores = scale · q · k for G heads from `head` on and K keys from `key` on.
    #[inline(always)]
    fn scores<S: Simd, const G: usize, const K: usize>(
        &mut self,
        simd: S,
        kv_head: usize,
        head: usize,
        key: usize,
    ) {
        let AttentionShape { kv_heads, head_dim, scale, .. } = self.shape;
        let width = kv_heads * head_dim;
        let query = self.query[head * head_dim..(head + G) * head_dim].as_ptr();
        let keys = self.keys[key * width..(key + K) * width][kv_head * head_dim..].as_ptr();
        let next = self.keys.as_ptr().wrapping_add((key + K) * width + kv_head * head_dim * K);
        let mut sums = [[simd.zero(); K]; G];
        let mut i = 0;
        while i < head_dim {
            let rest = head_dim - i;
            // SAFETY: elements `i..head_dim` of G heads of the query and of one head of K keys, as sliced above; a
            // whole vector is read only if as many are left.
            unsafe {
                let load = |from: *const f32| match rest >= S::LANES {
                    true => simd.load(from),
                    false => simd.load_first(from, rest),
                };
                let keys: [S::Vector; K] = std::array::from_fn(|k| {
                    // The K keys after these, in the order of memory.
                    prefetch(next.wrapping_add(i * K + k * S::LANES));
                    load(keys.add(k * width + i))
                });
                for (g, sums) in sums.iter_mut().enumerate() {
                    let query = load(query.add(g * head_dim + i));
                    for (sum, key) in sums.iter_mut().zip(keys) {
                        *sum = simd.multiply_add(query, key, *sum);
                    }
                }
            }
            i += S::LANES;
        }
        for (g, sums) in sums.into_iter().enumerate() {
            let scores = &mut self.scores[(head + g) * CHUNK + key..][..K];
            let sums = simd.sums(std::array::from_fn(|k| if k < K { sums[k] } else { simd.zero() }));
            for (score, sum) in scores.iter_mut().zip(sums) {
                *score = scale * sum;
            }
        }
    }

    /// Replaces the scores of each head by exponentials and keeps their maximum and sum.
    #[inline(always)]
    fn weights<S: Simd>(&mut self, simd: S) {
        let heads = self.shape.heads;
        let (maxima, sums) = self.partial[heads * self.shape.head_dim..].split_at_mut(heads);
        for head in 0..heads {
            let scores = &mut self.scores[head * CHUNK..][..self.count];
            if let Some(mask) = self.mask {
                for (score, seen) in scores.iter_mut().zip(mask) {
                    if !seen {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
            maxima[head] = largest(simd, scores);
            if maxima[head] == f32::NEG_INFINITY {
                scores.fill(0.0);
                sums[head] = 0.0;
            } else {
                sums[head] = exponentials(simd, scores, maxima[head]);
            }
        }
    }

    /// Adds the weighted values of a few keys to G heads from `head` on.
    #[inline(always)]
    fn add_values<S: Simd, const G: usize>(
        &mut self,
        simd: S,
        kv_head: usize,
        head: usize,
        keys: Range<usize>,
    ) {
        let head_dim = self.shape.head_dim;
        let mut i = 0;
        while i < head_dim {
            let rest = head_dim - i;
            if rest >= 2 * S::LANES {
                self.add_vectors::<S, G, 2>(simd, kv_head, head, keys.clone(), i, S::LANES);
                i += 2 * S::LANES;
            } else {
                self.add_vectors::<S, G, 1>(simd, kv_head, head, keys.clone(), i, rest.min(S::LANES));
                i += S::LANES;
            }
        }
    }

    /// [`add_values`](Self::add_values) for N vectors from element `i` on, each of `lanes` elements.
    #[inline(always)]
    fn add_vectors<S: Simd, const G: usize, const N: usize>(
        &mut self,
        simd: S,
        kv_head: usize,
        head: usize,
        keys: Range<usize>,
        i: usize,
        lanes: usize,
    ) {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let width = kv_heads * head_dim;
        assert!(i + (N - 1) * S::LANES + lanes <= head_dim && keys.end <= self.count);
        let sums_start = self.partial[head * head_dim..(head + G) * head_dim].as_mut_ptr();
        let weights = self.scores[head * CHUNK..(head + G) * CHUNK].as_ptr();
        let values = self.values[kv_head * head_dim..].as_ptr();
        // SAFETY: N vectors that end inside a head, of G heads of the sums and of one head of each value; `lanes` is
        // less than a vector only where it is the last of a head.
        unsafe {
            let load = |from: *const f32| match lanes == S::LANES {
                true => simd.load(from),
                false => simd.load_first(from, lanes),
            };
            let place = |g: usize, n: usize| sums_start.add(g * head_dim + i + n * S::LANES);
            let mut sums: [[S::Vector; N]; G] =
                std::array::from_fn(|g| std::array::from_fn(|n| load(place(g, n))));
            // The values after these, in the order of memory.
            let next =
                self.values.as_ptr().wrapping_add((keys.end * kv_heads + kv_head * keys.len()) * head_dim);
            let next = next.wrapping_add(i * keys.len());
            for (number, key) in keys.enumerate() {
                let value = values.add(key * width + i);
                let vectors: [S::Vector; N] = std::array::from_fn(|n| {
                    prefetch(next.wrapping_add((number * N + n) * S::LANES));
                    load(value.add(n * S::LANES))
                });
                for (g, sums) in sums.iter_mut().enumerate() {
                    let weight = simd.splat(weights.add(g * CHUNK + key).read());
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = simd.multiply_add(vector, weight, *sum);
                    }
                }
            }
            for (g, sums) in sums.into_iter().enumerate() {
                for (n, sum) in sums.into_iter().enumerate() {
                    match lanes == S::LANES {
                        true => simd.store(place(g, n), sum),
                        false => simd.store_first(place(g, n), sum, lanes),
                    }
                }
            }
        }
    }
}

struct Combine<'a> {
    shape: AttentionShape,
    /// Results of chunks, one behind the other.
    partials: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Products>(self, simd: S) {
        let AttentionShape { heads, head_dim, .. } = self.shape;
        let chunks = self.partials.chunks_exact(partial_length(self.shape));
        for (head, output) in self.output.chunks_exact_mut(head_dim).enumerate() {
            output.fill(0.0);
            let (maximum, sum) = (heads * head_dim + head, heads * head_dim + heads + head);
            let highest = chunks.clone().map(|chunk| chunk[maximum]).fold(f32::NEG_INFINITY, f32::max);
            if highest == f32::NEG_INFINITY {
                continue;
            }
            let factor = |chunk: &[f32]| (chunk[maximum] - highest).exp();
            let total: f32 = chunks.clone().map(|chunk| factor(chunk) * chunk[sum]).sum();
            for chunk in chunks.clone() {
                let factor = simd.splat(factor(chunk) / total);
                let values = &chunk[head * head_dim..(head + 1) * head_dim];
                for (output, values) in output.chunks_mut(S::LANES).zip(values.chunks(S::LANES)) {
                    let added = simd.multiply_add(simd.load_short(values), factor, simd.load_short(output));
                    simd.store_short(output, added);
                }
            }
        }
    }
}
