//! Mixtures of experts: a router sends each token through a few of many feed-forward networks.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the loaded model, its parameters, what both tasks share |
//! | `generation.rs` | `text-generation`: the four stages |
//! | `features.rs` | `feature-extraction`: the four stages |
//! | `attribution.rs` | which experts each token visited: usage, co-activation, balance |
//! | `heatmap.rs` | the same as a picture, for the terminal and as SVG |

mod attribution;
mod features;
mod generation;
mod heatmap;

use pipeline_schema::Value;
use pipeline_schema::models::ModelConfig;

use crate::checkpoint::CheckpointFiles;
use crate::declared::IntoParameter;
use crate::error::{Error, Result};
use crate::layers::{Capacity, Overflow, RoutingPolicy, Weights};
use crate::models::mixtral::Mixtral;
use crate::progress::Progress;
use crate::stage::{LoadOptions, Parameters};
use crate::text::{GenerationConfig, Tokenizer, as_written};

pub use super::generation::{FinishReason, Prompt, RawGeneration, TextDelta, TokenSequences, Usage};
pub use attribution::{
    CoActivation, ExpertAttribution, ExpertUsage, LayerExperts, LoadBalance, RoutingRecord, TokenExperts,
    TokenOrigin, load_balancing_loss,
};
pub use features::Features;
pub use generation::{Generation, GenerationPlan, GenerationSession, PassRouting};
pub use heatmap::Heatmap;

/// The mixture-of-experts architecture.
#[derive(Debug, Clone, Copy)]
pub enum Moe {}

/// What is adjustable in a mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeParameters {
    /// Tokens to generate at most.
    pub max_new_tokens: usize,
    /// Flattens (above 1) or sharpens (below 1) the distribution of the next token; 0 is greedy.
    pub temperature: f32,
    /// Samples from the likeliest tokens whose probabilities sum to this; 1 is off.
    pub top_p: f32,
    /// Samples from this many likeliest tokens; 0 is off.
    pub top_k: usize,
    /// Drops tokens less likely than this share of the likeliest token's probability; 0 is off.
    pub min_p: f32,
    /// Divides the logits of tokens seen before; 1 is off.
    pub repetition_penalty: f32,
    /// Draws the next token; `false` takes the likeliest.
    pub do_sample: bool,
    /// Texts that end the generation and are not part of the result.
    pub stop: Vec<String>,
    /// Reproduces a run; `None` draws one, which the output reports.
    pub seed: Option<u64>,
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
            max_new_tokens: generation.max_new_tokens.unwrap_or(128),
            temperature: generation.temperature.unwrap_or(0.7),
            top_p: generation.top_p.unwrap_or(0.9),
            top_k: generation.top_k.unwrap_or(50),
            min_p: generation.min_p.unwrap_or(0.0),
            repetition_penalty: generation.repetition_penalty.unwrap_or(1.0),
            do_sample: generation.do_sample.unwrap_or(true),
            stop: Vec::new(),
            seed: None,
            num_active_experts,
            capacity_factor: None,
            overflow: Overflow::Drop,
        }
    }
}

impl Parameters for MoeParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        let integer = |number: usize| Value::Integer(number as i128);
        let float = |number: f32| Value::Float(as_written(number));
        let mut values = vec![
            ("max_new_tokens", integer(self.max_new_tokens)),
            ("temperature", float(self.temperature)),
            ("top_p", float(self.top_p)),
            ("top_k", integer(self.top_k)),
            ("min_p", float(self.min_p)),
            ("repetition_penalty", float(self.repetition_penalty)),
            ("do_sample", Value::Boolean(self.do_sample)),
            ("stop", Value::TextList(self.stop.clone())),
            ("num_active_experts", integer(self.num_active_experts)),
            ("overflow", Value::Text(overflow_name(self.overflow).to_owned())),
        ];
        values.extend(self.seed.map(|seed| ("seed", Value::Integer(seed.into()))));
        values.extend(self.capacity_factor.map(|factor| ("capacity_factor", float(factor))));
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
#[derive(Debug)]
pub struct MoeModel {
    network: Mixtral,
    tokenizer: Tokenizer,
    generation: GenerationConfig,
}

impl MoeModel {
    fn load(checkpoint: &CheckpointFiles, options: &LoadOptions) -> Result<MoeModel> {
        let facts = checkpoint.facts();
        let config = match facts.model().map_err(|problems| Error::Rules { problems })? {
            ModelConfig::Mixtral(config) => config,
            other => {
                let model_type = other.model_type();
                return Err(Error::input(format!("`{model_type}` is no mixture of experts")));
            }
        };
        let tokenizer = Tokenizer::from_directory(facts.directory())?;
        let generation = GenerationConfig::from_directory(facts.directory())?;
        let head = facts.head()?;
        let mut progress = Progress::new("loading", config.num_hidden_layers, options.progress);
        let weights = Weights::new(checkpoint, options.dtype).on(&options.device);
        let network = Mixtral::load(&weights, config, head, |done, _| progress.set(done))?;
        Ok(MoeModel { network, tokenizer, generation })
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

    /// The network.
    pub fn network(&self) -> &Mixtral {
        &self.network
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A prompt in tokens, with the special tokens that the tokenizer or the chat template adds.
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let config = self.network.config();
        prompt.encode(&self.tokenizer, config.context(), config.vocab_size)
    }
}
