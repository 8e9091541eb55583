//! Attention as it is defined.

use rayon::prelude::*;

use super::{AttentionSequence, AttentionShape};

/// Each query and head by itself, in `f64`: the scalar twin of [`attention`](super::attention).
///
/// # Panics
/// As [`attention`](super::attention).
pub fn attention_scalar(
    query: &[f32],
    sequences: &[AttentionSequence<'_>],
    output: &mut [f32],
    shape: AttentionShape,
) {
    shape.check(query, sequences, output);
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    for sequence in sequences {
        for (number, row) in sequence.queries.clone().enumerate() {
            for head in 0..heads {
                let start = (row * heads + head) * head_dim;
                let kv_head = head / (heads / kv_heads);
                let at = |key: usize, i: usize| (key * kv_heads + kv_head) * head_dim + i;
                let seen: Vec<usize> = shape
                    .visible(sequence, number)
                    .filter(|&key| sequence.key_mask.is_none_or(|mask| mask[key]))
                    .collect();
                let score = |key: usize| -> f64 {
                    let product = |i| f64::from(query[start + i]) * f64::from(sequence.keys[at(key, i)]);
                    f64::from(shape.scale) * (0..head_dim).map(product).sum::<f64>()
                };
                let scores: Vec<f64> = seen.par_iter().map(|&key| score(key)).collect();
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                output[start..start + head_dim].par_iter_mut().enumerate().for_each(|(i, output)| {
                    let value = |key| f64::from(sequence.values[at(key, i)]);
                    let weighted: f64 =
                        seen.iter().zip(&weights).map(|(&key, weight)| weight * value(key)).sum();
                    *output = if sum > 0.0 { (weighted / sum) as f32 } else { 0.0 };
                });
            }
        }
    }
}
