//! Mixtral: a decoder whose feed-forward networks are sparse mixtures of experts.
//!
//! Paper: <https://arxiv.org/abs/2401.04088>. Reference: `MixtralConfig` and `MixtralForCausalLM` of
//! transformers, whose names the fields keep.

use serde_json::{Map, Value};

use super::fields::{Fields, described, positive};
use super::{Attention, Experts, Head, RequiredTensor};
use crate::dtype::DType;
use crate::problem::Problem;

/// The configuration of a Mixtral model.
///
/// Every size is at least 1 and so bounded that no product of them overflows 64 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Numbers in the hidden layer of an expert.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Numbers in a head: `hidden_size / num_attention_heads` unless given.
    pub head_dim: usize,
    /// Whether `head_dim` was given.
    pub head_dim_given: bool,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding's wavelengths.
    pub rope_theta: f64,
    /// Tokens that a token can see back, itself included; all of them when absent.
    pub sliding_window: Option<usize>,
    /// Whether the embedding is the output layer, too.
    pub tie_word_embeddings: bool,
    /// Experts in a layer.
    pub num_local_experts: usize,
    /// Experts that a token visits in a layer.
    pub num_experts_per_tok: usize,
}

/// Limits of the sizes: well above every model there is, and low enough for products of them.
mod limit {
    pub(super) const VOCABULARY: usize = 1 << 24;
    pub(super) const HIDDEN: usize = 1 << 18;
    pub(super) const INTERMEDIATE: usize = 1 << 20;
    pub(super) const LAYERS: usize = 1 << 10;
    pub(super) const HEADS: usize = 1 << 12;
    pub(super) const HEAD_DIM: usize = 1 << 14;
    pub(super) const EXPERTS: usize = 1 << 12;
    pub(super) const TOKENS: usize = 1 << 30;
}

impl Config {
    /// Reads `config.json`. Fields that give a shape must be there; the others default as in transformers.
    ///
    /// # Errors
    ///
    /// Every field that is missing, of a wrong type, out of range or asks for what is not computed here (an
    /// activation other than `silu`, scaled rotary embeddings, quantised weights).
    pub fn from_json(config: &Map<String, Value>) -> Result<Config, Vec<Problem>> {
        let mut fields = Fields::new(config);
        let hidden_size = fields.size("hidden_size", limit::HIDDEN);
        let num_attention_heads = fields.size("num_attention_heads", limit::HEADS);
        // transformers: 8 unless given, and as many as there are heads when given as `null`.
        let num_key_value_heads = match config.get("num_key_value_heads") {
            None => 8,
            Some(_) => {
                fields.optional_size("num_key_value_heads", limit::HEADS).unwrap_or(num_attention_heads)
            }
        };
        let head_dim = fields.optional_size("head_dim", limit::HEAD_DIM);
        // transformers reads `num_experts` as another name of the field.
        let experts =
            if config.contains_key("num_local_experts") { "num_local_experts" } else { "num_experts" };
        let num_local_experts = match fields.get(experts) {
            Some(_) => fields.size(experts, limit::EXPERTS),
            None => fields.size("num_local_experts", limit::EXPERTS),
        };
        fields.only("hidden_act", "silu");
        if fields.get("quantization_config").is_some() {
            let message = "quantised weights are not supported; use the checkpoint in `bf16`, `f16` or `f32`";
            fields.note("quantization_config", message.to_owned());
        }
        let config = Config {
            vocab_size: fields.size("vocab_size", limit::VOCABULARY),
            hidden_size,
            intermediate_size: fields.size("intermediate_size", limit::INTERMEDIATE),
            num_hidden_layers: fields.size("num_hidden_layers", limit::LAYERS),
            num_attention_heads,
            num_key_value_heads,
            head_dim: head_dim.unwrap_or((hidden_size / num_attention_heads).max(1)),
            head_dim_given: head_dim.is_some(),
            max_position_embeddings: fields
                .optional_size("max_position_embeddings", limit::TOKENS)
                .unwrap_or(4096 * 32),
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-5),
            rope_theta: rope_theta(&mut fields),
            sliding_window: fields.optional_size("sliding_window", limit::TOKENS),
            tie_word_embeddings: fields.boolean("tie_word_embeddings", false),
            num_local_experts,
            num_experts_per_tok: fields.size("num_experts_per_tok", limit::EXPERTS),
        };
        fields.finish(config)
    }

    /// Every tensor that a checkpoint with this head must have: the layout that the reference saves, in which
    /// each expert has its three matrices.
    pub fn tensors(&self, head: Head) -> impl Iterator<Item = RequiredTensor> + use<> {
        let Config { vocab_size, hidden_size, intermediate_size, .. } = *self;
        let (experts, layers) = (self.num_local_experts, self.num_hidden_layers);
        let query = self.num_attention_heads * self.head_dim;
        let key_value = self.num_key_value_heads * self.head_dim;
        let prefix = head.prefix();
        let of_layer = move |layer: usize| {
            let name = move |name: &str| format!("{prefix}layers.{layer}.{name}.weight");
            let of_expert = move |expert: usize| {
                let name = move |matrix: &str| {
                    format!("{prefix}layers.{layer}.block_sparse_moe.experts.{expert}.{matrix}.weight")
                };
                [
                    (name("w1"), vec![intermediate_size, hidden_size]),
                    (name("w2"), vec![hidden_size, intermediate_size]),
                    (name("w3"), vec![intermediate_size, hidden_size]),
                ]
            };
            [
                (name("input_layernorm"), vec![hidden_size]),
                (name("self_attn.q_proj"), vec![query, hidden_size]),
                (name("self_attn.k_proj"), vec![key_value, hidden_size]),
                (name("self_attn.v_proj"), vec![key_value, hidden_size]),
                (name("self_attn.o_proj"), vec![hidden_size, query]),
                (name("post_attention_layernorm"), vec![hidden_size]),
                (name("block_sparse_moe.gate"), vec![experts, hidden_size]),
            ]
            .into_iter()
            .chain((0..experts).flat_map(of_expert))
        };
        let top = match head {
            Head::CausalLm if !self.tie_word_embeddings => {
                Some(("lm_head.weight".to_owned(), vec![vocab_size, hidden_size]))
            }
            Head::SequenceClassification { num_labels } => {
                Some(("score.weight".to_owned(), vec![num_labels, hidden_size]))
            }
            Head::CausalLm | Head::Base { .. } => None,
        };
        std::iter::once((format!("{prefix}embed_tokens.weight"), vec![vocab_size, hidden_size]))
            .chain((0..layers).flat_map(of_layer))
            .chain(std::iter::once((format!("{prefix}norm.weight"), vec![hidden_size])))
            .chain(top)
    }

    /// What rules ask of the attention.
    pub fn attention(&self) -> Attention {
        Attention {
            hidden_size: self.hidden_size,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            head_dim_given: self.head_dim_given,
            max_position_embeddings: self.max_position_embeddings,
        }
    }

    /// What rules ask of the experts.
    pub fn experts(&self) -> Experts {
        Experts {
            count: self.num_local_experts,
            count_field: "num_local_experts",
            active: self.num_experts_per_tok,
            active_field: "num_experts_per_tok",
        }
    }

    /// Parameters: numbers in all weights, a tied output layer counted once.
    pub fn parameter_count(&self, head: Head) -> u64 {
        self.parameters_with(self.num_local_experts, head)
    }

    /// Parameters that one token meets.
    pub fn active_parameter_count(&self, head: Head) -> u64 {
        self.parameters_with(self.num_experts_per_tok.min(self.num_local_experts), head)
    }

    /// Bytes that one more token of one sequence takes in the key-value cache in `dtype`.
    pub fn cache_bytes_per_token(&self, dtype: DType) -> u64 {
        let key_value = self.num_key_value_heads as u64 * self.head_dim as u64;
        2 * self.num_hidden_layers as u64 * key_value * dtype.size() as u64
    }

    /// Parameters when each layer has `experts` experts behind its router.
    fn parameters_with(&self, experts: usize, head: Head) -> u64 {
        let [vocabulary, hidden, intermediate] =
            [self.vocab_size, self.hidden_size, self.intermediate_size].map(|size| size as u64);
        let query = self.num_attention_heads as u64 * self.head_dim as u64;
        let key_value = self.num_key_value_heads as u64 * self.head_dim as u64;
        let attention = 2 * (query + key_value) * hidden;
        let feed_forward =
            3 * experts as u64 * intermediate * hidden + self.num_local_experts as u64 * hidden;
        let layer = attention + feed_forward + 2 * hidden;
        let top = match head {
            Head::CausalLm if !self.tie_word_embeddings => vocabulary * hidden,
            Head::SequenceClassification { num_labels } => num_labels as u64 * hidden,
            Head::CausalLm | Head::Base { .. } => 0,
        };
        vocabulary * hidden + self.num_hidden_layers as u64 * layer + hidden + top
    }
}

/// The base of the rotary embedding: in `rope_parameters`, or, as older versions wrote it, at the top with
/// `rope_scaling` beside it. 1e6 unless given.
fn rope_theta(fields: &mut Fields<'_>) -> f64 {
    let theta = fields.positive("rope_theta", 1e6);
    let field = if fields.get("rope_scaling").is_some() { "rope_scaling" } else { "rope_parameters" };
    let parameters = match fields.get(field) {
        None => return theta,
        Some(Value::Object(parameters)) => parameters,
        Some(other) => {
            fields.wrong(field, "an object", other);
            return theta;
        }
    };
    // Older versions called `rope_type` just `type`.
    let rope_type = parameters.get("rope_type").or_else(|| parameters.get("type"));
    if let Some(rope_type) = rope_type.filter(|rope_type| rope_type.as_str() != Some("default")) {
        let message = format!("`{field}.rope_type` must be `default`, but is {}", described(rope_type));
        fields.note(field, message);
    }
    match parameters.get("rope_theta") {
        None | Some(Value::Null) => theta,
        Some(value) => positive(value).unwrap_or_else(|| {
            fields.note(
                field,
                format!("`{field}.rope_theta` must be a number above 0, but is {}", described(value)),
            );
            theta
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(json: Value) -> Result<Config, Vec<Problem>> {
        let mut fields = json!({
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        });
        let fields = fields.as_object_mut().unwrap();
        fields.extend(json.as_object().unwrap().clone());
        Config::from_json(fields)
    }

    #[test]
    fn mixtral_8x7b_has_its_published_size() {
        let config = config(json!({})).unwrap();
        // `total_size` of the index of mistralai/Mixtral-8x7B-v0.1 is 93405585408 bytes in bf16.
        assert_eq!(2 * config.parameter_count(Head::CausalLm), 93_405_585_408);
        assert_eq!(config.active_parameter_count(Head::CausalLm) / 100_000_000, 128);
        assert_eq!(config.cache_bytes_per_token(DType::BF16), 131_072);
    }

    #[test]
    fn parameters_are_the_numbers_of_the_tensors() {
        for head in [Head::Base { nested: false }, Head::CausalLm, Head::SequenceClassification { num_labels: 3 }] {
            for tied in [false, true] {
                let config = config(json!({"tie_word_embeddings": tied, "num_key_value_heads": 4})).unwrap();
                let numbers = config.tensors(head).map(|(_, shape)| shape.iter().product::<usize>() as u64);
                assert_eq!(numbers.sum::<u64>(), config.parameter_count(head));
            }
        }
    }

    #[test]
    fn the_greatest_sizes_do_not_overflow() {
        let config = config(json!({
            "vocab_size": limit::VOCABULARY,
            "hidden_size": limit::HIDDEN,
            "intermediate_size": limit::INTERMEDIATE,
            "num_hidden_layers": limit::LAYERS,
            "num_attention_heads": limit::HEADS,
            "num_key_value_heads": limit::HEADS,
            "head_dim": limit::HEAD_DIM,
            "num_local_experts": limit::EXPERTS,
            "num_experts_per_tok": limit::EXPERTS,
        }))
        .unwrap();
        let model = crate::models::ModelConfig::Mixtral(config);
        assert!(model.weight_bytes(Head::CausalLm, DType::F32) > 1 << 63);
        assert!(model.cache_bytes_per_token(DType::F32) > 0);
    }

    #[test]
    fn what_is_not_given_is_as_in_transformers() {
        let config = config(json!({"head_dim": null, "sliding_window": null})).unwrap();
        assert_eq!((config.head_dim, config.head_dim_given, config.num_key_value_heads), (128, false, 8));
        assert_eq!((config.rope_theta, config.rms_norm_eps), (1e6, 1e-5));
        assert_eq!((config.max_position_embeddings, config.sliding_window), (131_072, None));
        assert!(!config.tie_word_embeddings);
        let config = self::config(json!({"num_key_value_heads": null})).unwrap();
        assert_eq!(config.num_key_value_heads, 32);
    }

    #[test]
    fn rotary_parameters_are_read_in_both_forms() {
        for (json, theta) in [
            (json!({"rope_theta": 5000}), 5e3),
            (json!({"rope_theta": 5000, "rope_scaling": null}), 5e3),
            (json!({"rope_parameters": {"rope_theta": 7e3, "rope_type": "default"}}), 7e3),
            (json!({"rope_theta": 5000, "rope_parameters": {"rope_theta": 7e3}}), 7e3),
            (json!({"rope_theta": 5000, "rope_parameters": {"rope_type": "default"}}), 5e3),
            (json!({"rope_theta": 5000, "rope_scaling": {"type": "default"}}), 5e3),
        ] {
            assert_eq!(config(json).unwrap().rope_theta, theta);
        }
    }

    #[test]
    fn all_wrong_fields_are_told_at_once() {
        let problems =
            config(json!({"hidden_size": 0, "vocab_size": null, "hidden_act": "gelu"})).unwrap_err();
        let sources: Vec<_> = problems.iter().filter_map(|problem| problem.source.as_deref()).collect();
        assert_eq!(
            sources,
            ["config.json: hidden_size", "config.json: hidden_act", "config.json: vocab_size"]
        );
    }
}
