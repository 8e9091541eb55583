//! Choosing experts: softmax over router logits and its largest entries.

mod cpu;
pub mod gpu;
mod scalar;
#[cfg(test)]
mod tests;

pub use scalar::softmax_top_k_scalar;

use super::InstructionSet;
use super::parallel::{ELEMENTS_WORTH_A_FORK, SharedSlice, for_each_block};

/// What a router decides for each token, and how sure it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopK {
    /// The experts of each token, the most probable first: (tokens, k).
    pub experts: Vec<u32>,
    /// Their probabilities: (tokens, k).
    pub weights: Vec<f32>,
    /// The entropy of each token's distribution over all experts, in nats: (tokens).
    pub entropy: Vec<f32>,
    /// ln Σ e^logit of each token, which the z-loss squares: (tokens).
    pub log_sum_exp: Vec<f32>,
}

/// The shape of a routing decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopKShape {
    /// Experts there are: logits is (tokens, experts).
    pub experts: usize,
    /// Experts that each token visits: at least 1, at most `experts`.
    pub k: usize,
    /// Whether the weights of a token are divided by their sum.
    pub normalize: bool,
}

/// Softmax over the experts of each token and its `k` largest entries; of equal ones the lower index comes first.
///
/// Everything is computed in `f32`. NaN counts as negative infinity, which is chosen last and has weight zero; a token
/// that has nothing else has weights and entropy of zero and a logarithm of negative infinity.
///
/// ```
/// use pipeline_runtime::kernels::router::{TopKShape, softmax_top_k};
///
/// let shape = TopKShape { experts: 4, k: 2, normalize: true };
/// let routing = softmax_top_k(&[0.0, 2.0, f32::NEG_INFINITY, 2.0], shape);
/// assert_eq!(routing.experts, [1, 3]);
/// assert_eq!(routing.weights, [0.5, 0.5]);
/// ```
///
/// # Panics
/// Where the length of logits is no multiple of `experts`, or k is not between 1 and `experts`.
pub fn softmax_top_k(logits: &[f32], shape: TopKShape) -> TopK {
    softmax_top_k_with(InstructionSet::detected(), logits, shape)
}

/// [`softmax_top_k`] with an instruction set.
///
/// # Panics
/// Where the length of logits is no multiple of `experts`, or k is not between 1 and `experts`.
pub fn softmax_top_k_with(isa: InstructionSet, logits: &[f32], shape: TopKShape) -> TopK {
    let tokens = shape.tokens(logits);
    let TopKShape { experts: count, k, normalize } = shape;
    let mut result = TopK {
        experts: vec![0; tokens * k],
        weights: vec![0.0; tokens * k],
        entropy: vec![0.0; tokens],
        log_sum_exp: vec![0.0; tokens],
    };
    let experts = SharedSlice::new(&mut result.experts);
    let weights = SharedSlice::new(&mut result.weights);
    let entropy = SharedSlice::new(&mut result.entropy);
    let log_sum_exp = SharedSlice::new(&mut result.log_sum_exp);
    for_each_block(tokens, logits.len() >= ELEMENTS_WORTH_A_FORK, |token| {
        // SAFETY: each block writes what belongs to the token of its own number.
        let (experts, weights, entropy, log_sum_exp) = unsafe {
            (
                experts.range(token * k..(token + 1) * k),
                weights.range(token * k..(token + 1) * k),
                entropy.range(token..token + 1),
                log_sum_exp.range(token..token + 1),
            )
        };
        let logits = &logits[token * count..(token + 1) * count];
        (entropy[0], log_sum_exp[0]) = cpu::route_token(isa, logits, normalize, experts, weights);
    });
    result
}

impl TopKShape {
    /// The number of tokens, after checking the shape.
    fn tokens(self, logits: &[f32]) -> usize {
        assert!(self.k >= 1 && self.k <= self.experts, "softmax_top_k: k of {self:?}");
        assert!(logits.len().is_multiple_of(self.experts), "softmax_top_k: logits of {self:?}");
        logits.len() / self.experts
    }
}
