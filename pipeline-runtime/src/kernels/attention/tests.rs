use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::testing::{assert_close, random, with_threads};

/// One sequence of random keys and values.
struct Sequence {
    queries: Range<usize>,
    keys: Vec<f32>,
    values: Vec<f32>,
    mask: Option<Vec<bool>>,
}

impl Sequence {
    fn borrow(&self) -> AttentionSequence<'_> {
        AttentionSequence {
            queries: self.queries.clone(),
            keys: &self.keys,
            values: &self.values,
            key_mask: self.mask.as_deref(),
        }
    }
}

/// Sequences of (queries, context), their queries behind each other, and the query.
fn sequences(lengths: &[(usize, usize)], shape: AttentionShape, masked: bool) -> (Vec<Sequence>, Vec<f32>) {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let mut end = 0;
    let sequences = lengths
        .iter()
        .zip(0u64..)
        .map(|(&(queries, context), seed)| {
            end += queries;
            let length = context * shape.kv_heads * shape.head_dim;
            Sequence {
                queries: end - queries..end,
                keys: random(length, 2 * seed),
                values: random(length, 2 * seed + 1),
                mask: masked.then(|| (0..context).map(|_| generator.random_range(0..3) > 0).collect()),
            }
        })
        .collect();
    let query = random(end * shape.heads * shape.head_dim, 99).into_iter().map(|value| 4.0 * value).collect();
    (sequences, query)
}

fn check(lengths: &[(usize, usize)], shape: AttentionShape, masked: bool) {
    let (sequences, query) = sequences(lengths, shape, masked);
    let sequences: Vec<AttentionSequence<'_>> = sequences.iter().map(Sequence::borrow).collect();
    let mut expected = vec![7.0; query.len()];
    attention_scalar(&query, &sequences, &mut expected, shape);
    for isa in InstructionSet::available() {
        let mut output = vec![7.0; query.len()];
        attention_with(isa, &query, &sequences, &mut output, shape);
        assert_close(&output, &expected, 5e-6, &format!("{isa:?} {shape:?} {lengths:?} masked {masked}"));
    }
}

fn shape(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt(), window }
}

#[test]
fn prompts_agree_with_the_scalar_twin() {
    for (heads, kv_heads, head_dim) in
        [(1, 1, 1), (4, 4, 16), (4, 2, 24), (6, 2, 33), (7, 1, 80), (8, 2, 128)]
    {
        for window in [None, Some(1), Some(5), Some(100)] {
            for masked in [false, true] {
                let shape = shape(heads, kv_heads, head_dim, window);
                check(&[(2, 2), (17, 17), (3, 120), (130, 131)], shape, masked);
            }
        }
    }
}

#[test]
fn steps_agree_with_the_scalar_twin() {
    for (heads, kv_heads, head_dim) in [(1, 1, 1), (3, 3, 16), (5, 1, 20), (14, 2, 64), (8, 2, 130)] {
        for window in [None, Some(1), Some(300)] {
            for masked in [false, true] {
                let shape = shape(heads, kv_heads, head_dim, window);
                check(&[(1, 1), (1, 6), (1, 256), (1, 700), (4, 9), (1, 515)], shape, masked);
            }
        }
    }
}

#[test]
fn a_query_that_sees_no_key_is_zero() {
    for queries in [1, 3] {
        let shape = shape(2, 1, 20, Some(2));
        let (mut sequences, query) = sequences(&[(queries, 10)], shape, false);
        let mut mask = vec![true; 10];
        mask[8..].fill(false);
        sequences[0].mask = Some(mask);
        let mut output = vec![7.0; query.len()];
        attention(&query, &[sequences[0].borrow()], &mut output, shape);
        assert!(output[(queries - 1) * 40..].iter().all(|&value| value == 0.0), "{queries}");
    }
}

#[test]
fn large_scores_do_not_overflow() {
    for queries in [1, 5] {
        let shape = AttentionShape { scale: 1e4, ..shape(2, 2, 16, None) };
        check(&[(queries, 40)], shape, false);
    }
}

#[test]
fn rows_of_no_sequence_stay() {
    let shape = shape(1, 1, 4, None);
    let (sequences, _) = sequences(&[(2, 3)], shape, false);
    let mut output = vec![7.0; 12];
    attention(&[1.0; 12], &[sequences[0].borrow()], &mut output, shape);
    assert!(output[..8].iter().all(|&value| value != 7.0));
    assert_eq!(output[8..], [7.0; 4]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = shape(8, 2, 64, None);
    let (sequences, query) = sequences(&[(1, 2000), (90, 200), (1, 300)], shape, false);
    let sequences: Vec<AttentionSequence<'_>> = sequences.iter().map(Sequence::borrow).collect();
    let [one, two] = [1, 2].map(|threads| {
        let mut output = vec![0.0; query.len()];
        with_threads(threads, || attention(&query, &sequences, &mut output, shape));
        output
    });
    assert!(one == two);
}

#[test]
#[should_panic(expected = "overlap")]
fn overlapping_sequences_are_refused() {
    let shape = shape(1, 1, 4, None);
    let (sequences, _) = sequences(&[(2, 3)], shape, false);
    let twice = [sequences[0].borrow(), sequences[0].borrow()];
    attention(&[0.0; 8], &twice, &mut [0.0; 8], shape);
}

#[test]
#[should_panic(expected = "more queries than keys")]
fn more_queries_than_keys_are_refused() {
    let shape = shape(1, 1, 4, None);
    let (mut sequences, _) = sequences(&[(2, 3)], shape, false);
    sequences[0].queries = 0..4;
    attention(&[0.0; 16], &[sequences[0].borrow()], &mut [0.0; 16], shape);
}
