//! Mixtures of experts: the router, what it decides, and the experts (<https://arxiv.org/abs/2401.04088>).

use crate::error::Result;
use crate::kernels::experts::{DROPPED, ExpertRouting, ExpertWeights, ExpertsShape, experts};
use crate::kernels::router::{TopKShape, softmax_top_k};
use crate::layers::{Linear, Weights};
use crate::tensor::{Matrix, Tensor};
use crate::text::as_written;

/// How tokens are distributed over experts in a call.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingPolicy {
    /// Experts that each token visits.
    pub num_active_experts: usize,
    /// How many tokens an expert takes at most; `None` is no limit.
    pub capacity: Option<Capacity>,
}

/// A limit on the tokens of an expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// An expert takes this many times its even share of the tokens that are routed together, rounded up.
    pub factor: f32,
    /// What becomes of the tokens above it.
    pub overflow: Overflow,
}

/// What becomes of a token whose expert is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It gets nothing from that expert.
    Drop,
    /// It goes to the expert it ranks next that has room; when none has, it gets nothing.
    Reroute,
}

/// What the router decided for one layer and a batch of tokens.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The chosen experts `(tokens, k)`, the strongest first; `u32::MAX` where a token was dropped.
    pub experts: Vec<u32>,
    /// Their weights `(tokens, k)`.
    pub weights: Vec<f32>,
    /// Experts a token.
    pub k: usize,
}

/// The router's decision with the logits it comes from.
#[derive(Clone, Debug)]
pub struct LayerRouting {
    /// Router logits `(tokens, experts)`.
    pub router_logits: Tensor,
    /// The decision.
    pub routing: Routing,
}

/// Chooses the `k` likeliest experts of a softmax over all, and scales their weights to sum to one.
#[derive(Clone, Debug)]
pub struct TopKRouter {
    gate: Linear,
}

impl TopKRouter {
    /// Reads `weight` `(experts, hidden_size)`.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, hidden_size: usize, experts: usize) -> Result<TopKRouter> {
        Ok(TopKRouter { gate: Linear::load(weights, hidden_size, experts)? })
    }

    /// The router with this gate.
    pub fn new(gate: Linear) -> TopKRouter {
        TopKRouter { gate }
    }

    /// `(tokens, hidden_size)` to the experts of each token.
    ///
    /// # Errors
    /// The input has another width.
    pub fn forward(&self, hidden: &Tensor, policy: &RoutingPolicy) -> Result<LayerRouting> {
        let router_logits = self.gate.forward(hidden)?; // (tokens, experts)
        let (_, num_experts) = router_logits.rows_and_width();
        let k = policy.num_active_experts.clamp(1, num_experts);
        let logits = router_logits.as_slice()?;
        let chosen = softmax_top_k(&logits, TopKShape { experts: num_experts, k, normalize: true });
        let mut routing = Routing { experts: chosen.experts, weights: chosen.weights, k };
        if let Some(capacity) = policy.capacity {
            limit(&mut routing, &logits, num_experts, capacity);
        }
        drop(logits);
        Ok(LayerRouting { router_logits, routing })
    }
}

/// Applies a capacity: tokens are seated in their order, all first choices before all second ones
/// (<https://arxiv.org/abs/2101.03961>, section 2.2).
fn limit(routing: &mut Routing, logits: &[f32], num_experts: usize, capacity: Capacity) {
    let k = routing.k;
    let tokens = routing.experts.len() / k;
    let even_share = (tokens * k) as f64 / num_experts as f64;
    // In `f32`, 1.2 times 12.5 is a little above 15.
    let room = (as_written(capacity.factor) * even_share).ceil() as usize;
    let mut load = vec![0; num_experts];
    for choice in 0..k {
        for token in 0..tokens {
            let seat = token * k + choice;
            let wanted = routing.experts[seat] as usize;
            let expert = if load[wanted] < room {
                Some(wanted)
            } else if capacity.overflow == Overflow::Reroute {
                let chosen = &routing.experts[token * k..][..k];
                let scores = &logits[token * num_experts..][..num_experts];
                (0..num_experts)
                    .filter(|&expert| load[expert] < room && !chosen.contains(&(expert as u32)))
                    .max_by(|&left, &right| scores[left].total_cmp(&scores[right]).then(right.cmp(&left)))
            } else {
                None
            };
            match expert {
                Some(expert) => {
                    load[expert] += 1;
                    routing.experts[seat] = expert as u32;
                }
                None => {
                    routing.experts[seat] = DROPPED;
                    routing.weights[seat] = 0.0;
                }
            }
        }
    }
}

/// A gated feed-forward network: `down(silu(gate x) * up x)` (<https://arxiv.org/abs/2002.05202>).
#[derive(Clone, Debug)]
pub struct SwiGlu {
    /// `(intermediate_size, hidden_size)`
    pub gate: Matrix,
    /// `(intermediate_size, hidden_size)`
    pub up: Matrix,
    /// `(hidden_size, intermediate_size)`
    pub down: Matrix,
}

/// Feed-forward networks of which each token visits a few.
#[derive(Clone, Debug)]
pub struct SparseExperts {
    experts: Vec<SwiGlu>,
    hidden_size: usize,
    intermediate_size: usize,
}

impl SparseExperts {
    /// Experts of one shape.
    pub fn new(experts: Vec<SwiGlu>, hidden_size: usize, intermediate_size: usize) -> SparseExperts {
        SparseExperts { experts, hidden_size, intermediate_size }
    }

    /// `(tokens, hidden_size) -> (tokens, hidden_size)`: the weighted sum of each token's experts.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn forward(&self, hidden: &Tensor, routing: &Routing) -> Result<Tensor> {
        let weights: Vec<ExpertWeights<'_>> = self
            .experts
            .iter()
            .map(|SwiGlu { gate, up, down }| ExpertWeights {
                gate: gate.as_ref(),
                up: up.as_ref(),
                down: down.as_ref(),
            })
            .collect();
        let (tokens, _) = hidden.rows_and_width();
        let shape = ExpertsShape {
            tokens,
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            experts_per_token: routing.k,
        };
        let mut output = vec![0.0; tokens * self.hidden_size];
        let slots = ExpertRouting { experts: &routing.experts, weights: &routing.weights };
        experts(&hidden.as_slice()?, slots, &weights, &mut output, shape);
        Tensor::from_vec(output, hidden.shape())
    }
}
