//! Causal attention with grouped queries over the keys and values of each sequence.
//!
//! Softmax runs online over blocks of keys (FlashAttention), so no row of scores is ever whole. Several query rows of
//! a sequence are a product of tiles (`prefill`); a single one is bound by reading keys and values, which are then
//! read in the order of memory for all heads at once, in chunks that threads share (`decode`).

mod decode;
pub mod gpu;
mod prefill;
mod scalar;
#[cfg(test)]
mod tests;

pub use scalar::attention_scalar;

use std::ops::Range;

use super::InstructionSet;
use super::parallel::{PRODUCTS_WORTH_A_FORK, SharedSlice, for_each_block};
use super::scratch::with_scratch;

/// What all sequences of a call share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads: a multiple of `kv_heads`. Heads of one group are neighbours.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Factor of the scores, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// With a window w, a query at position p sees keys j with p - j < w.
    pub window: Option<usize>,
}

/// Queries of one sequence with its keys and values.
#[derive(Clone, Debug)]
pub struct AttentionSequence<'a> {
    /// Its rows of the query: the last ones of the context, so that query i of n is at position context - n + i.
    pub queries: Range<usize>,
    /// (context, kv_heads, head_dim), the new tokens included.
    pub keys: &'a [f32],
    /// (context, kv_heads, head_dim), the new tokens included.
    pub values: &'a [f32],
    /// False for keys that no query sees: (context).
    pub key_mask: Option<&'a [bool]>,
}

/// output = softmax(scale · q · kᵀ) · v over the keys that each query sees; zero for a query that sees none.
///
/// query, output: (tokens, heads, head_dim); sums in `f32`. Rows of no sequence are left as they are.
///
/// ```
/// use pipeline_runtime::kernels::attention::{AttentionSequence, AttentionShape, attention};
///
/// let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 2, scale: 1.0, window: None };
/// // Two tokens whose keys are alike: the second sees both values equally.
/// let sequence = AttentionSequence { queries: 0..2, keys: &[1.0; 4], values: &[0.0, 2.0, 4.0, 6.0], key_mask: None };
/// let mut output = [0.0; 4];
/// attention(&[1.0; 4], &[sequence], &mut output, shape);
/// assert_eq!(output, [0.0, 2.0, 2.0, 4.0]);
/// ```
///
/// # Panics
/// Where a length does not fit the shape, a sequence has more queries than keys, or rows of two sequences overlap.
pub fn attention(
    query: &[f32],
    sequences: &[AttentionSequence<'_>],
    output: &mut [f32],
    shape: AttentionShape,
) {
    attention_with(InstructionSet::detected(), query, sequences, output, shape);
}

/// [`attention`] with an instruction set.
///
/// # Panics
/// As [`attention`].
pub fn attention_with(
    isa: InstructionSet,
    query: &[f32],
    sequences: &[AttentionSequence<'_>],
    output: &mut [f32],
    shape: AttentionShape,
) {
    shape.check(query, sequences, output);
    let width = shape.heads * shape.head_dim;
    if width == 0 {
        return;
    }
    let mut tasks = Vec::new();
    let (mut partials_length, mut products) = (0, 0);
    for sequence in sequences {
        products += 2 * sequence.queries.len() * width * shape.context(sequence);
        match sequence.queries.len() {
            0 => {}
            1 => {
                let keys = shape.visible(sequence, 0);
                for keys in decode::chunks(keys) {
                    tasks.push(Task::Decode { sequence, keys, partial: partials_length });
                    partials_length += decode::partial_length(shape);
                }
            }
            count => {
                let positions = prefill::positions_at_a_time(shape);
                // Blocks of later queries see more keys: the longest tasks first.
                for first in (0..count).step_by(positions).rev() {
                    let queries = first..count.min(first + positions);
                    tasks.extend((0..shape.kv_heads).map(|kv_head| Task::Prefill {
                        sequence,
                        kv_head,
                        queries: queries.clone(),
                    }));
                }
            }
        }
    }
    let fork = products >= PRODUCTS_WORTH_A_FORK;
    with_scratch(partials_length, |partials| {
        let (shared, target) = (SharedSlice::new(partials), SharedSlice::new(output));
        for_each_block(tasks.len(), fork, |task| match &tasks[task] {
            Task::Decode { sequence, keys, partial } => {
                // SAFETY: each task has a partial result of its own.
                let partial = unsafe { shared.range(*partial..*partial + decode::partial_length(shape)) };
                let row = sequence.queries.start;
                let query = &query[row * width..(row + 1) * width];
                decode::attend(isa, shape, query, sequence, keys.clone(), partial);
            }
            Task::Prefill { sequence, kv_head, queries } => {
                prefill::attend(isa, shape, query, sequence, *kv_head, queries.clone(), &target);
            }
        });
        let mut start = 0;
        for sequence in sequences.iter().filter(|sequence| sequence.queries.len() == 1) {
            let count = decode::chunks(shape.visible(sequence, 0)).count();
            let length = count * decode::partial_length(shape);
            let row = sequence.queries.start;
            let output = &mut output[row * width..(row + 1) * width];
            decode::combine(isa, shape, &partials[start..start + length], output);
            start += length;
        }
    });
}

/// What a thread does at a time.
enum Task<'a> {
    /// The only query of a sequence over some of the keys it sees.
    Decode {
        sequence: &'a AttentionSequence<'a>,
        keys: Range<usize>,
        /// Where its partial result begins.
        partial: usize,
    },
    /// Some queries of a sequence, in the heads of one group.
    Prefill { sequence: &'a AttentionSequence<'a>, kv_head: usize, queries: Range<usize> },
}

impl AttentionShape {
    /// Keys of a sequence.
    fn context(self, sequence: &AttentionSequence<'_>) -> usize {
        sequence.keys.len() / (self.kv_heads * self.head_dim)
    }

    /// The keys that query number `query` of a sequence may see, the mask apart.
    fn visible(self, sequence: &AttentionSequence<'_>, query: usize) -> Range<usize> {
        let end = self.context(sequence) - sequence.queries.len() + query + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Panics unless the lengths fit.
    fn check(self, query: &[f32], sequences: &[AttentionSequence<'_>], output: &[f32]) {
        assert!(
            self.kv_heads > 0 && self.head_dim > 0 && self.heads.is_multiple_of(self.kv_heads),
            "attention: heads of {self:?}"
        );
        let width = self.heads * self.head_dim;
        assert_eq!(query.len(), output.len(), "attention: query and output have one shape");
        assert!(query.len().is_multiple_of(width.max(1)), "attention: query of {self:?}");
        for (index, sequence) in sequences.iter().enumerate() {
            let context = self.context(sequence);
            let queries = &sequence.queries;
            let length = context * self.kv_heads * self.head_dim;
            assert_eq!(sequence.keys.len(), length, "attention: keys of sequence {index}, {self:?}");
            assert_eq!(sequence.values.len(), length, "attention: values of sequence {index}, {self:?}");
            assert!(
                queries.start <= queries.end && queries.end * width <= query.len(),
                "attention: sequence {index} has queries {queries:?}"
            );
            assert!(queries.len() <= context, "attention: sequence {index} has more queries than keys");
            if let Some(mask) = sequence.key_mask {
                assert_eq!(mask.len(), context, "attention: mask of sequence {index}");
            }
        }
        let mut ranges: Vec<&Range<usize>> =
            sequences.iter().map(|sequence| &sequence.queries).filter(|range| !range.is_empty()).collect();
        ranges.sort_by_key(|range| range.start);
        let apart = ranges.windows(2).all(|pair| pair[0].end <= pair[1].start);
        assert!(apart, "attention: queries of two sequences overlap");
    }
}
