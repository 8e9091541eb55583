//! Per model type, its configuration and the tensors it must have.

pub mod decoder;
mod fields;
mod head;
mod llama;
mod mistral;
pub mod mixtral;
mod qwen2;
mod qwen3;
mod rope;

use serde_json::{Map, Value};

pub(crate) use self::fields::described;
pub use self::head::Head;
pub use self::rope::{RopeParameters, RopeScaling};
use crate::arch;
use crate::dtype::DType;
use crate::problem::{Problem, Subject, quoted};
use crate::suggest;

/// The configuration of a model, by its type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelConfig {
    /// `llama`, `mistral`, `qwen2` and `qwen3`.
    Decoder(decoder::Config),
    /// `mixtral`.
    Mixtral(mixtral::Config),
}

/// What rules ask of a model that has attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values, each shared by as many query heads.
    pub num_key_value_heads: usize,
    /// Numbers in a head.
    pub head_dim: usize,
    /// Whether the configuration gives `head_dim`; otherwise it is the hidden size divided by the heads.
    pub head_dim_given: bool,
    /// `max_position_embeddings` of `config.json`.
    pub max_position_embeddings: usize,
    /// Longest sequence, in tokens: the former, unless scaled rotary embeddings reach further.
    pub context: usize,
}

/// What rules ask of a model that has experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts in a layer.
    pub count: usize,
    /// The field of `config.json` that says so.
    pub count_field: &'static str,
    /// Experts that a token visits in a layer.
    pub active: usize,
    /// The field of `config.json` that says so.
    pub active_field: &'static str,
}

/// A tensor that a checkpoint must have: its name and its shape.
pub type RequiredTensor = (String, Vec<usize>);

impl ModelConfig {
    /// Reads `config.json` as the configuration of its `model_type`, which is compared exactly.
    ///
    /// # Errors
    ///
    /// `model_type` is missing or unknown, or fields are missing or cannot be what they are: every one of them,
    /// each with a source such as `config.json: hidden_size = 0`.
    ///
    /// ```
    /// use pipeline_schema::models::ModelConfig;
    /// let config = serde_json::from_str(r#"{"model_type": "mixtrall"}"#).unwrap();
    /// let problems = ModelConfig::from_json(&config).unwrap_err();
    /// assert_eq!(problems[0].message, "unknown `model_type` `mixtrall`; did you mean `mixtral`?");
    /// ```
    pub fn from_json(config: &Map<String, Value>) -> Result<ModelConfig, Vec<Problem>> {
        let model_type = match config.get("model_type") {
            Some(Value::String(model_type)) => model_type.as_str(),
            Some(other) => {
                let message = format!("`model_type` must be a text, but is {}", described(other));
                return Err(vec![Problem::new(Subject::Model, message).found_in("config.json: model_type")]);
            }
            None => {
                let problem = Problem::new(Subject::Model, "`model_type` is missing");
                return Err(vec![problem.found_in("config.json: model_type")]);
            }
        };
        match model_type {
            "llama" => llama::from_json(config).map(ModelConfig::Decoder),
            "mistral" => mistral::from_json(config).map(ModelConfig::Decoder),
            "mixtral" => mixtral::Config::from_json(config).map(ModelConfig::Mixtral),
            "qwen2" => qwen2::from_json(config).map(ModelConfig::Decoder),
            "qwen3" => qwen3::from_json(config).map(ModelConfig::Decoder),
            _ => Err(vec![unknown_model_type(model_type)]),
        }
    }

    /// `model_type` of `config.json`.
    pub fn model_type(&self) -> &'static str {
        match self {
            ModelConfig::Decoder(config) => config.model_type,
            ModelConfig::Mixtral(_) => "mixtral",
        }
    }

    /// Every tensor that a checkpoint of this configuration and head must have, in the reference's own names.
    pub fn tensors(&self, head: Head) -> Box<dyn Iterator<Item = RequiredTensor>> {
        match self {
            ModelConfig::Decoder(config) => Box::new(config.tensors(head)),
            ModelConfig::Mixtral(config) => Box::new(config.tensors(head)),
        }
    }

    /// What rules ask of its attention; `None` for a model without attention.
    pub fn attention(&self) -> Option<Attention> {
        match self {
            ModelConfig::Decoder(config) => Some(config.attention()),
            ModelConfig::Mixtral(config) => Some(config.attention()),
        }
    }

    /// What rules ask of its experts; `None` for a model without experts.
    pub fn experts(&self) -> Option<Experts> {
        match self {
            ModelConfig::Decoder(_) => None,
            ModelConfig::Mixtral(config) => Some(config.experts()),
        }
    }

    /// Tokens in the vocabulary; `None` for a model without one.
    pub fn vocab_size(&self) -> Option<usize> {
        match self {
            ModelConfig::Decoder(config) => Some(config.vocab_size),
            ModelConfig::Mixtral(config) => Some(config.vocab_size),
        }
    }

    /// Parameters: numbers in all weights.
    pub fn parameter_count(&self, head: Head) -> u64 {
        match self {
            ModelConfig::Decoder(config) => config.parameter_count(head),
            ModelConfig::Mixtral(config) => config.parameter_count(head),
        }
    }

    /// Parameters that one token meets: less than all where experts are routed to.
    pub fn active_parameter_count(&self, head: Head) -> u64 {
        match self {
            ModelConfig::Decoder(config) => config.parameter_count(head),
            ModelConfig::Mixtral(config) => config.active_parameter_count(head),
        }
    }

    /// Bytes of all weights in `dtype`.
    pub fn weight_bytes(&self, head: Head, dtype: DType) -> u64 {
        self.parameter_count(head) * dtype.size() as u64
    }

    /// Bytes of the key-value cache of one sequence of so many tokens in `dtype`; 0 without a cache.
    pub fn cache_bytes(&self, tokens: u64, dtype: DType) -> u64 {
        match self {
            ModelConfig::Decoder(config) => config.cache_bytes(tokens, dtype),
            ModelConfig::Mixtral(config) => config.cache_bytes(tokens, dtype),
        }
    }
}

fn unknown_model_type(model_type: &str) -> Problem {
    let known: Vec<&str> =
        arch::ARCHITECTURES.iter().flat_map(|architecture| architecture.model_types).copied().collect();
    let instead = suggest::instead(model_type, known.iter().copied());
    Problem::new(Subject::Model, format!("unknown `model_type` {}; {instead}", quoted(model_type)))
        .found_in("config.json: model_type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_type_of_an_architecture_has_a_configuration() {
        for model_type in arch::ARCHITECTURES.iter().flat_map(|architecture| architecture.model_types) {
            let config = Map::from_iter([("model_type".to_owned(), Value::from(*model_type))]);
            let unknown = |problem: &Problem| problem.message.starts_with("unknown `model_type`");
            match ModelConfig::from_json(&config) {
                Ok(config) => assert_eq!(config.model_type(), *model_type),
                Err(problems) => assert!(!problems.iter().any(unknown), "{model_type}"),
            }
        }
    }

    #[test]
    fn a_model_type_is_compared_exactly() {
        for model_type in ["Mixtral", "mixtral ", "mixtral_moe", ""] {
            let config = Map::from_iter([("model_type".to_owned(), Value::from(model_type))]);
            let problems = ModelConfig::from_json(&config).unwrap_err();
            assert_eq!(problems[0].source.as_deref(), Some("config.json: model_type"));
            assert!(problems[0].message.contains("`mixtral`"), "{}", problems[0].message);
        }
    }
}
