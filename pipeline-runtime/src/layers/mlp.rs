//! Feed-forward networks.

use crate::error::Result;
use crate::layers::{Linear, RmsNorm, Weights};
use crate::tensor::Tensor;

/// A gated feed-forward network: `down(silu(gate x) * up x)` (<https://arxiv.org/abs/2002.05202>).
#[derive(Clone, Debug)]
pub struct GatedMlp {
    gate_up: GateUp,
    down_proj: Linear,
}

/// The maps to the gate and to what it lets through.
#[derive(Clone, Debug)]
enum GateUp {
    /// On the processor, where the weights stay where they are in their file.
    Apart { gate: Linear, up: Linear },
    /// On a GPU, where one product does for both.
    Stacked(Linear),
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
        let gate_up = match weights.gpu() {
            None => GateUp::Apart {
                gate: map("gate_proj", hidden_size, intermediate_size)?,
                up: map("up_proj", hidden_size, intermediate_size)?,
            },
            Some(_) => {
                let maps = ["gate_proj", "up_proj"].map(|name| (weights.pp(name), intermediate_size));
                GateUp::Stacked(Linear::load_stacked(&maps, hidden_size, bias)?)
            }
        };
        Ok(GatedMlp { gate_up, down_proj: map("down_proj", intermediate_size, hidden_size)? })
    }

    /// `hidden` and the network over its norm added: `(tokens, hidden_size) -> (tokens, hidden_size)`
    ///
    /// # Errors
    /// The input has another width, or is not where the weights are.
    pub fn add_to(&self, hidden: Tensor, norm: &RmsNorm) -> Result<Tensor> {
        let activated = match &self.gate_up {
            GateUp::Apart { gate, up } => {
                let normed = norm.forward(&hidden)?;
                gate.forward(&normed)?.silu_multiply(&up.forward(&normed)?)? // (tokens, intermediate_size)
            }
            GateUp::Stacked(map) => {
                map.swiglu_normed_on(&hidden.clone().into_device()?, norm)?.into() // (tokens, intermediate_size)
            }
        };
        self.down_proj.add_to(hidden, &activated)
    }
}
