//! Mixtures of experts: a router sends each token through a few of many feed-forward networks.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the parameters, what both tasks share |
//! | `generation.rs` | `text-generation`: the four stages |
//! | `features.rs` | `feature-extraction`: the four stages |
//! | `attribution.rs` | which experts each token visited: usage, co-activation, balance |
//! | `heatmap.rs` | the same as a picture, for the terminal and as SVG |

mod attribution;
mod features;
mod generation;
mod heatmap;

use std::ops::{Deref, DerefMut};

use pipeline_schema::Value;
use pipeline_schema::models::ModelConfig;

use super::generation::LoadedModel;
use crate::checkpoint::CheckpointFiles;
use crate::declared::IntoParameter;
use crate::error::{Error, Result};
use crate::layers::{Capacity, Overflow, RoutingPolicy};
use crate::models::mixtral::Mixtral;
use crate::stage::{LoadOptions, Parameters};
use crate::text::{GenerationConfig, as_written};

pub use super::features::{Features, RawFeatures};
pub use super::generation::{
    FinishReason, GenerationParameters, Prompt, RawGeneration, TextDelta, TokenSequences, Usage,
};
pub use attribution::{
    CoActivation, ExpertAttribution, ExpertUsage, LayerExperts, LoadBalance, RoutingRecord, TokenExperts,
    TokenOrigin, load_balancing_loss,
};
pub use generation::{Generation, GenerationPlan, GenerationSession, PassRouting};
pub use heatmap::Heatmap;

/// The mixture-of-experts architecture.
#[derive(Debug, Clone, Copy)]
pub enum Moe {}

/// What is adjustable in a mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeParameters {
    /// How text is generated; its fields are reached as if they stood here.
    pub generation: GenerationParameters,
    /// Experts that each token visits in a layer.
    pub num_active_experts: usize,
    /// Limits an expert to this many times its even share of the tokens that are routed together.
    pub capacity_factor: Option<f32>,
    /// What becomes of a token whose expert is full.
    pub overflow: Overflow,
}

impl MoeParameters {
    fn new(generation: &GenerationConfig, num_active_experts: usize) -> MoeParameters {
        MoeParameters {
            generation: GenerationParameters::new(generation),
            num_active_experts,
            capacity_factor: None,
            overflow: Overflow::Drop,
        }
    }
}

impl Deref for MoeParameters {
    type Target = GenerationParameters;

    fn deref(&self) -> &GenerationParameters {
        &self.generation
    }
}

impl DerefMut for MoeParameters {
    fn deref_mut(&mut self) -> &mut GenerationParameters {
        &mut self.generation
    }
}

impl Parameters for MoeParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        let mut values = self.generation.values();
        values.extend([
            ("num_active_experts", Value::Integer(self.num_active_experts as i128)),
            ("overflow", Value::Text(overflow_name(self.overflow).to_owned())),
        ]);
        let capacity_factor = self.capacity_factor.map(|factor| Value::Float(as_written(factor)));
        values.extend(capacity_factor.map(|factor| ("capacity_factor", factor)));
        values
    }
}

fn overflow_name(overflow: Overflow) -> &'static str {
    match overflow {
        Overflow::Drop => "drop",
        Overflow::Reroute => "reroute",
    }
}

impl IntoParameter<Overflow> for &str {
    fn assign(&self, parameter: &mut Overflow) -> Result<()> {
        *parameter = match *self {
            "drop" => Overflow::Drop,
            "reroute" => Overflow::Reroute,
            other => {
                let message = format!("`overflow` is `{other}`; expected one of `drop`, `reroute`");
                return Err(Error::Parameter(message));
            }
        };
        Ok(())
    }
}

impl IntoParameter<Overflow> for String {
    fn assign(&self, parameter: &mut Overflow) -> Result<()> {
        self.as_str().assign(parameter)
    }
}

/// A loaded mixture of experts with what reads and writes its text.
pub type MoeModel = LoadedModel<Mixtral>;

impl MoeModel {
    fn load(checkpoint: &CheckpointFiles, options: &LoadOptions) -> Result<MoeModel> {
        let config = match checkpoint.facts().model().map_err(|problems| Error::Rules { problems })? {
            ModelConfig::Mixtral(config) => config,
            other => {
                let model_type = other.model_type();
                return Err(Error::input(format!("`{model_type}` is no mixture of experts")));
            }
        };
        LoadedModel::read(checkpoint, options, config.num_hidden_layers, |weights, head, loaded| {
            Mixtral::load(weights, config, head, |done, _| loaded(done))
        })
    }

    fn parameters(&self) -> MoeParameters {
        MoeParameters::new(&self.generation, self.network.config().num_experts_per_tok)
    }

    fn routing_policy(&self, parameters: &MoeParameters) -> Result<RoutingPolicy> {
        let MoeParameters { num_active_experts, capacity_factor, overflow, .. } = *parameters;
        let num_experts = self.network.config().num_local_experts;
        if num_active_experts > num_experts {
            let message = format!(
                "`num_active_experts` is {num_active_experts}, but the checkpoint has {num_experts} experts"
            );
            return Err(Error::Parameter(message));
        }
        let capacity = capacity_factor.map(|factor| Capacity { factor, overflow });
        Ok(RoutingPolicy { num_active_experts, capacity })
    }
}
