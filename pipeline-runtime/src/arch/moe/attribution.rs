//! Which experts each token visited, and what that says of the model.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::arch::moe::Heatmap;
use crate::error::Result;
use crate::layers::LayerRouting;
use crate::text::Tokenizer;

/// The router's decisions for the tokens of one sequence, in the order in which the model read them.
#[derive(Clone, Debug)]
pub struct RoutingRecord {
    num_experts: usize,
    layers: Vec<LayerRecord>,
    /// The capacity factor that would have dropped nothing of any pass.
    capacity_factor_needed: f64,
}

#[derive(Clone, Debug, Default)]
struct LayerRecord {
    /// Experts a token.
    k: usize,
    /// `(tokens, k)`
    experts: Vec<u32>,
    /// `(tokens, k)`
    weights: Vec<f32>,
    /// `(tokens, num_experts)`
    logits: Vec<f32>,
}

impl RoutingRecord {
    /// A record without tokens.
    pub fn new(num_layers: usize, num_experts: usize) -> RoutingRecord {
        RoutingRecord {
            num_experts,
            layers: vec![LayerRecord::default(); num_layers],
            capacity_factor_needed: 1.0,
        }
    }

    /// Adds the rows of one sequence in a batch whose pass through the model would have needed this capacity factor.
    ///
    /// # Errors
    /// The router logits cannot be read.
    pub fn extend(
        &mut self,
        routing: &[LayerRouting],
        rows: Range<usize>,
        capacity_factor_needed: f64,
    ) -> Result<()> {
        self.capacity_factor_needed = self.capacity_factor_needed.max(capacity_factor_needed);
        for (record, layer) in self.layers.iter_mut().zip(routing) {
            let k = layer.routing.k;
            record.k = k;
            record.experts.extend_from_slice(&layer.routing.experts[rows.start * k..rows.end * k]);
            record.weights.extend_from_slice(&layer.routing.weights[rows.start * k..rows.end * k]);
            let width = self.num_experts;
            let logits = layer.router_logits.as_slice()?;
            record.logits.extend_from_slice(&logits[rows.start * width..rows.end * width]);
        }
        Ok(())
    }

    fn tokens(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.logits.len() / self.num_experts)
    }
}

/// Which experts each token of a prompt and its continuation visited, and with which weights.
///
/// A generated token is attributed to the experts that wrote it: those that the model went through at the position
/// before it, whose output the token is. A token of the prompt is attributed to the experts that read it.
#[derive(Clone, Debug, Serialize)]
pub struct ExpertAttribution {
    /// Experts in a layer.
    pub num_experts: usize,
    /// Mixture-of-experts layers.
    pub num_layers: usize,
    /// Every token of the prompt, then every generated one.
    pub tokens: Vec<TokenExperts>,
    /// How evenly the tokens are spread over the experts.
    pub balance: LoadBalance,
}

/// The experts of one token.
#[derive(Clone, Debug, Serialize)]
pub struct TokenExperts {
    /// The token.
    pub token: u32,
    /// How it reads.
    pub text: String,
    /// Whether it was read or written.
    pub origin: TokenOrigin,
    /// For each layer its experts.
    pub layers: Vec<LayerExperts>,
}

/// Whether a token was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenOrigin {
    /// A token of the prompt.
    Prompt,
    /// A generated token.
    Completion,
}

/// The experts of one token in one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerExperts {
    /// The experts that the token visited, the strongest first. Experts that had no room for it are left out.
    pub experts: Vec<u32>,
    /// Their weights, which sum to one unless an expert had no room.
    pub weights: Vec<f32>,
    /// The entropy of the router's distribution over all experts, in nats: 0 is certain, `ln(num_experts)` a guess.
    pub entropy: f32,
}

/// How often each expert was visited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpertUsage {
    /// Visits `(layers, experts)`.
    pub per_layer: Vec<Vec<u64>>,
    /// Visits over all layers `(experts)`.
    pub total: Vec<u64>,
    /// All visits.
    pub decisions: u64,
}

/// Experts that one token visits together in one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoActivation {
    /// The experts, in ascending order.
    pub experts: Vec<u32>,
    /// How often.
    pub count: u64,
}

/// How evenly tokens are spread over experts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadBalance {
    /// Standard deviation over mean of the visits to each expert, for each layer: 0 is even.
    pub coefficient_of_variation: Vec<f64>,
    /// The auxiliary load-balancing loss of <https://arxiv.org/abs/2101.03961>, equation 4, without its coefficient,
    /// over all layers together: `k` is even.
    pub load_balancing_loss: f64,
    /// The router z-loss of <https://arxiv.org/abs/2202.08906>, equation 5, the mean over all layers.
    pub z_loss: f64,
    /// Visits that an expert had no room for.
    pub dropped: u64,
    /// A `capacity_factor` with which no visit would have been dropped: a capacity is that of all tokens that go through
    /// the model together, so it is the greatest need of any pass. At least 1.
    pub suggested_capacity_factor: f64,
}

impl ExpertAttribution {
    pub(super) fn new(
        prompt: &[u32],
        completion: &[u32],
        record: &RoutingRecord,
        tokenizer: &Tokenizer,
    ) -> ExpertAttribution {
        let read = record.tokens();
        let describe = |token: u32, origin: TokenOrigin, row: usize| TokenExperts {
            token,
            text: tokenizer.token_text(token),
            origin,
            layers: record.layers.iter().map(|layer| layer.experts_of(row, record.num_experts)).collect(),
        };
        let read_tokens = prompt
            .iter()
            .enumerate()
            .take(read)
            .map(|(row, &token)| describe(token, TokenOrigin::Prompt, row));
        let written_tokens = completion
            .iter()
            .enumerate()
            .map(|(index, &token)| (token, (prompt.len() + index).saturating_sub(1)))
            .take_while(|&(_, row)| row < read)
            .map(|(token, row)| describe(token, TokenOrigin::Completion, row));
        ExpertAttribution {
            num_experts: record.num_experts,
            num_layers: record.layers.len(),
            tokens: read_tokens.chain(written_tokens).collect(),
            balance: LoadBalance::of(record),
        }
    }

    /// Every position once: the last token of the prompt was read at the position that wrote the first generated one.
    fn positions(&self) -> impl Iterator<Item = &TokenExperts> {
        let prompt = self.tokens.iter().filter(|token| token.origin == TokenOrigin::Prompt);
        prompt.chain(self.tokens.iter().filter(|token| token.origin == TokenOrigin::Completion).skip(1))
    }

    /// How often each expert was visited.
    pub fn usage(&self) -> ExpertUsage {
        let mut per_layer = vec![vec![0; self.num_experts]; self.num_layers];
        for token in self.positions() {
            for (visits, layer) in per_layer.iter_mut().zip(&token.layers) {
                for &expert in &layer.experts {
                    visits[expert as usize] += 1;
                }
            }
        }
        let total: Vec<u64> =
            (0..self.num_experts).map(|expert| per_layer.iter().map(|layer| layer[expert]).sum()).collect();
        ExpertUsage { decisions: total.iter().sum(), total, per_layer }
    }

    /// Which experts work together: every set of experts that a token visited in one layer, the most frequent
    /// first.
    pub fn co_activation(&self) -> Vec<CoActivation> {
        let mut counts = BTreeMap::new();
        for layer in self.positions().flat_map(|token| &token.layers).filter(|layer| layer.experts.len() > 1)
        {
            let mut experts = layer.experts.clone();
            experts.sort_unstable();
            *counts.entry(experts).or_insert(0) += 1;
        }
        let mut patterns: Vec<CoActivation> =
            counts.into_iter().map(|(experts, count)| CoActivation { experts, count }).collect();
        // The sort is stable: equal counts stay in the order of their experts.
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.count));
        patterns
    }

    /// The experts of each word as a picture, in the last layer, which is next to the word that comes out.
    pub fn heatmap(&self) -> Heatmap<'_> {
        Heatmap::new(self, self.num_layers.saturating_sub(1))
    }

    /// The experts of each word as a picture, in one layer. Experts of different layers have nothing in common but
    /// their numbers, so there is no picture of all layers together.
    ///
    /// # Panics
    /// There is no such layer.
    pub fn heatmap_of_layer(&self, layer: usize) -> Heatmap<'_> {
        assert!(layer < self.num_layers, "layer {layer} of {}", self.num_layers);
        Heatmap::new(self, layer)
    }
}

impl ExpertUsage {
    /// The `count` most visited experts with their visits, the most visited first.
    pub fn top(&self, count: usize) -> Vec<(u32, u64)> {
        let mut experts: Vec<(u32, u64)> =
            self.total.iter().enumerate().map(|(expert, &visits)| (expert as u32, visits)).collect();
        experts.sort_by_key(|&(_, visits)| std::cmp::Reverse(visits));
        experts.truncate(count);
        experts
    }
}

impl LayerRecord {
    fn experts_of(&self, row: usize, num_experts: usize) -> LayerExperts {
        let seats = row * self.k..(row + 1) * self.k;
        let visited = self.experts[seats.clone()]
            .iter()
            .zip(&self.weights[seats])
            .filter(|&(&expert, _)| expert != u32::MAX);
        let (experts, weights) = visited.map(|(&expert, &weight)| (expert, weight)).unzip();
        let (probabilities, _) = softmax(&self.logits[row * num_experts..][..num_experts]);
        let entropy = probabilities
            .iter()
            .filter(|&&probability| probability > 0.0)
            .map(|&probability| -probability * probability.ln())
            .sum::<f64>();
        LayerExperts { experts, weights, entropy: entropy as f32 }
    }
}

/// Probabilities and the log of their normaliser.
fn softmax(logits: &[f32]) -> (Vec<f64>, f64) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let exponentials: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    (exponentials.into_iter().map(|exponential| exponential / sum).collect(), largest + sum.ln())
}

impl LoadBalance {
    fn of(record: &RoutingRecord) -> LoadBalance {
        let num_experts = record.num_experts;
        let mut coefficient_of_variation = Vec::new();
        let (mut dropped, mut z_sum, mut z_count) = (0, 0.0, 0.0f64);
        for layer in &record.layers {
            let mut visits = vec![0.0f64; num_experts];
            for &expert in &layer.experts {
                match visits.get_mut(expert as usize) {
                    Some(visits) => *visits += 1.0,
                    None => dropped += 1,
                }
            }
            let mean = visits.iter().sum::<f64>() / num_experts as f64;
            let variance =
                visits.iter().map(|visits| (visits - mean).powi(2)).sum::<f64>() / num_experts as f64;
            coefficient_of_variation.push(if mean > 0.0 { variance.sqrt() / mean } else { 0.0 });
            for logits in layer.logits.chunks_exact(num_experts) {
                z_sum += softmax(logits).1.powi(2);
                z_count += 1.0;
            }
        }
        let logits: Vec<&[f32]> = record.layers.iter().map(|layer| layer.logits.as_slice()).collect();
        let k = record.layers.first().map_or(0, |layer| layer.k);
        LoadBalance {
            coefficient_of_variation,
            load_balancing_loss: load_balancing_loss(&logits, num_experts, k),
            z_loss: z_sum / z_count.max(1.0),
            dropped,
            suggested_capacity_factor: record.capacity_factor_needed,
        }
    }
}

/// The capacity factor that a pass of several tokens would have needed to drop nothing. An expert that only one token
/// wants has room under any.
pub(super) fn capacity_factor_needed(routing: &[LayerRouting]) -> Result<f64> {
    let mut needed = 0.0f64;
    for layer in routing {
        let (_, num_experts) = layer.router_logits.rows_and_width();
        let mut wanted = vec![0u32; num_experts];
        for logits in layer.router_logits.as_slice()?.chunks_exact(num_experts) {
            strongest(logits, layer.routing.k).for_each(|expert| wanted[expert] += 1);
        }
        let even_share = f64::from(wanted.iter().sum::<u32>()) / num_experts as f64;
        if let Some(most) = wanted.into_iter().max().filter(|most| *most > 1) {
            needed = needed.max(f64::from(most) / even_share);
        }
    }
    Ok(needed)
}

/// The `k` largest logits, ties going to the lower index.
fn strongest(logits: &[f32], k: usize) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&left, &right| logits[right].total_cmp(&logits[left]).then(left.cmp(&right)));
    order.into_iter().take(k)
}

/// The auxiliary loss that keeps experts evenly loaded, as the reference's `load_balancing_loss_func` computes it:
/// `num_experts * sum over experts of (share of tokens sent to it) * (mean probability given to it)`, over the tokens
/// of all layers together. `layers` holds router logits `(tokens, num_experts)`, one slice a layer.
pub fn load_balancing_loss(layers: &[&[f32]], num_experts: usize, k: usize) -> f64 {
    let mut visits = vec![0.0f64; num_experts];
    let mut probability = vec![0.0f64; num_experts];
    let mut tokens = 0.0f64;
    for logits in layers.iter().flat_map(|layer| layer.chunks_exact(num_experts)) {
        tokens += 1.0;
        for expert in strongest(logits, k) {
            visits[expert] += 1.0;
        }
        for (sum, share) in probability.iter_mut().zip(softmax(logits).0) {
            *sum += share;
        }
    }
    if tokens == 0.0 {
        return 0.0;
    }
    let products =
        visits.iter().zip(&probability).map(|(visits, share)| (visits / tokens) * (share / tokens));
    products.sum::<f64>() * num_experts as f64
}
