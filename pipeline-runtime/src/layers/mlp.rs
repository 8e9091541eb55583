//! Feed-forward networks.

use crate::error::Result;
use crate::layers::{Linear, Weights};
use crate::tensor::Tensor;

/// A gated feed-forward network: `down(silu(gate x) * up x)` (<https://arxiv.org/abs/2002.05202>).
#[derive(Clone, Debug)]
pub struct GatedMlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl GatedMlp {
    /// Reads `gate_proj`, `up_proj` and `down_proj`, all with biases or none.
    ///
    /// # Errors
    /// A weight is missing or has another shape.
    pub fn load(
        weights: &Weights<'_>,
        hidden_size: usize,
        intermediate_size: usize,
        bias: bool,
    ) -> Result<GatedMlp> {
        let map = |name, from, to| Linear::load_with(&weights.pp(name), from, to, bias);
        Ok(GatedMlp {
            gate_proj: map("gate_proj", hidden_size, intermediate_size)?,
            up_proj: map("up_proj", hidden_size, intermediate_size)?,
            down_proj: map("down_proj", intermediate_size, hidden_size)?,
        })
    }

    /// `(tokens, hidden_size) -> (tokens, hidden_size)`
    ///
    /// # Errors
    /// The input has another width.
    pub fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let gate = self.gate_proj.forward(hidden)?; // (tokens, intermediate_size)
        let up = self.up_proj.forward(hidden)?; // (tokens, intermediate_size)
        self.down_proj.forward(&gate.silu_multiply(&up)?)
    }
}
