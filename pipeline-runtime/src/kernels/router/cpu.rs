//! Routing of one token.

use crate::kernels::InstructionSet;
use crate::kernels::scratch::with_scratch;
use crate::kernels::softmax::SoftmaxRow;

/// Fills experts and weights, both (k), from logits (experts); returns entropy and ln Σ e^logit.
pub(super) fn route_token(
    isa: InstructionSet,
    logits: &[f32],
    normalize: bool,
    experts: &mut [u32],
    weights: &mut [f32],
) -> (f32, f32) {
    with_scratch(logits.len(), |probabilities| {
        probabilities.copy_from_slice(logits);
        let log_sum_exp = isa.run(SoftmaxRow { x: probabilities });
        choose(logits, experts);
        for (weight, expert) in weights.iter_mut().zip(&*experts) {
            *weight = probabilities[*expert as usize];
        }
        let sum: f32 = weights.iter().sum();
        if normalize && sum > 0.0 {
            for weight in weights {
                *weight /= sum;
            }
        }
        // -p ln p, with 0 ln 0 = 0.
        let terms = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln());
        (terms.sum(), log_sum_exp)
    })
}

/// The indices of the largest logits by insertion into a sorted list: k is small. Compared before the softmax,
/// which may make unequal logits equal.
fn choose(logits: &[f32], chosen: &mut [u32]) {
    let value = |index: u32| match logits[index as usize] {
        value if value.is_nan() => f32::NEG_INFINITY,
        value => value,
    };
    let mut count = 0;
    for index in 0..logits.len() as u32 {
        let mut place = count;
        while place > 0 && value(index) > value(chosen[place - 1]) {
            place -= 1;
        }
        if place < chosen.len() {
            count = (count + 1).min(chosen.len());
            chosen.copy_within(place..count - 1, place + 1);
            chosen[place] = index;
        }
    }
}
