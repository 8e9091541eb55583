//! The feed-forward part of a sparse mixture of experts: Σ weight · down(silu(gate · x) · (up · x)) over the experts
//! that each token visits.
//!
//! Tokens are grouped by expert through index maps; activations move only when they are packed. Gate and up run over
//! the same block of the intermediate dimension with SwiGLU behind them; the weighted sum follows down, a thread
//! owning columns of the output, so that the order of sums is that of the experts whatever the threads.

mod cpu;
pub mod gpu;
mod groups;
pub mod quantized;
mod scalar;
#[cfg(test)]
mod tests;

pub use scalar::experts_scalar;

use super::{InstructionSet, MatrixRef};

/// The index of an expert that stands for none: the token's slot was dropped for lack of capacity.
pub const DROPPED: u32 = u32::MAX;

/// The weights of one expert. Gate and up have one format.
#[derive(Clone, Copy, Debug)]
pub struct ExpertWeights<'a> {
    /// (intermediate, hidden)
    pub gate: MatrixRef<'a>,
    /// (intermediate, hidden)
    pub up: MatrixRef<'a>,
    /// (hidden, intermediate)
    pub down: MatrixRef<'a>,
}

/// Which experts each token visits and how much each counts.
#[derive(Clone, Copy, Debug)]
pub struct ExpertRouting<'a> {
    /// Indices of experts or [`DROPPED`]: (tokens, experts_per_token).
    pub experts: &'a [u32],
    /// Factors of the sum: (tokens, experts_per_token).
    pub weights: &'a [f32],
}

/// The sizes of a layer of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertsShape {
    /// Rows of the input and the output.
    pub tokens: usize,
    /// Elements of a row.
    pub hidden: usize,
    /// Elements between down and the other two.
    pub intermediate: usize,
    /// Slots of the routing for each token.
    pub experts_per_token: usize,
}

/// output = Σ over slots of weight · down(silu(gate · x) · (up · x)), sums in `f32`; zero where all slots are dropped.
///
/// x, output: (tokens, hidden). Experts of more than 4 tokens with `bf16` weights take activations rounded to `bf16`
/// on [`InstructionSet::Avx512Bf16`], as in [`matmul`](super::matmul::matmul).
///
/// ```
/// use pipeline_runtime::kernels::MatrixRef;
/// use pipeline_runtime::kernels::experts::{DROPPED, ExpertRouting, ExpertWeights, ExpertsShape, experts};
///
/// let [gate, up, down] = [[0.5f32, -0.5], [1.0, 1.0], [2.0, 3.0]];
/// let expert = ExpertWeights {
///     gate: MatrixRef::F32(&gate),
///     up: MatrixRef::F32(&up),
///     down: MatrixRef::F32(&down),
/// };
/// // Two tokens of one element: the first visits the expert, the second was dropped.
/// let shape = ExpertsShape { tokens: 2, hidden: 1, intermediate: 2, experts_per_token: 1 };
/// let routing = ExpertRouting { experts: &[0, DROPPED], weights: &[1.0, 1.0] };
/// let mut output = [0.0; 2];
/// experts(&[1.0, 1.0], routing, &[expert], &mut output, shape);
/// let silu = |x: f32| x / (1.0 + (-x).exp());
/// assert!((output[0] - (2.0 * silu(0.5) + 3.0 * silu(-0.5))).abs() < 1e-6);
/// assert_eq!(output[1], 0.0);
/// ```
///
/// # Panics
/// Where a length does not fit the shape or a format, an index is neither of an expert nor [`DROPPED`], or gate and up of
/// an expert differ in their format.
pub fn experts(
    x: &[f32],
    routing: ExpertRouting<'_>,
    experts: &[ExpertWeights<'_>],
    output: &mut [f32],
    shape: ExpertsShape,
) {
    experts_with(InstructionSet::detected(), x, routing, experts, output, shape);
}

/// [`experts`] with an instruction set.
///
/// # Panics
/// As [`experts`].
pub fn experts_with(
    isa: InstructionSet,
    x: &[f32],
    routing: ExpertRouting<'_>,
    experts: &[ExpertWeights<'_>],
    output: &mut [f32],
    shape: ExpertsShape,
) {
    // What stands between the two halves of the layer stays below 128 MiB.
    let tokens = (1 << 25) / (shape.experts_per_token * shape.intermediate).max(1);
    in_parts(isa, x, routing, experts, output, shape, tokens.max(64));
}

/// The layer for so many tokens at a time.
fn in_parts(
    isa: InstructionSet,
    x: &[f32],
    routing: ExpertRouting<'_>,
    experts: &[ExpertWeights<'_>],
    output: &mut [f32],
    shape: ExpertsShape,
    tokens_at_a_time: usize,
) {
    shape.check(x, routing, experts, output);
    output.fill(0.0);
    let slots = shape.experts_per_token;
    for first in (0..shape.tokens).step_by(tokens_at_a_time) {
        let end = shape.tokens.min(first + tokens_at_a_time);
        let routing = ExpertRouting {
            experts: &routing.experts[first * slots..end * slots],
            weights: &routing.weights[first * slots..end * slots],
        };
        let rows = first * shape.hidden..end * shape.hidden;
        let part = ExpertsShape { tokens: end - first, ..shape };
        cpu::feed_forward(isa, &x[rows.clone()], routing, experts, &mut output[rows], part);
    }
}

impl ExpertsShape {
    /// Panics unless lengths, indices and dtypes fit.
    fn check(self, x: &[f32], routing: ExpertRouting<'_>, experts: &[ExpertWeights<'_>], output: &[f32]) {
        let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = self;
        assert_eq!(x.len(), tokens * hidden, "experts: x is (tokens, hidden) of {self:?}");
        assert_eq!(output.len(), tokens * hidden, "experts: output is (tokens, hidden) of {self:?}");
        assert_eq!(routing.experts.len(), tokens * experts_per_token, "experts: indices of {self:?}");
        assert_eq!(routing.weights.len(), tokens * experts_per_token, "experts: weights of {self:?}");
        for (index, expert) in experts.iter().enumerate() {
            for (name, matrix, width) in [
                ("gate", expert.gate, hidden),
                ("up", expert.up, hidden),
                ("down", expert.down, intermediate),
            ] {
                matrix.check_rows(width);
                assert_eq!(
                    matrix.len(),
                    hidden * intermediate,
                    "experts: {name} of expert {index}, {self:?}"
                );
            }
            let one_format = match (expert.gate, expert.up) {
                (MatrixRef::Quantized(gate), MatrixRef::Quantized(up)) => gate.format() == up.format(),
                (gate, up) => std::mem::discriminant(&gate) == std::mem::discriminant(&up),
            };
            assert!(one_format, "experts: gate and up of expert {index} differ in their format");
        }
        let known = |index: &u32| *index == DROPPED || (*index as usize) < experts.len();
        assert!(routing.experts.iter().all(known), "experts: an index is not below {}", experts.len());
    }
}
