//! Mixtral: a decoder whose feed-forward networks are sparse mixtures of experts.
//!
//! Paper: <https://arxiv.org/abs/2401.04088>. Reference: `MixtralConfig` and `MixtralForCausalLM` of
//! transformers, whose names the fields keep.

use serde_json::{Map, Value};

use super::fields::{Fields, limit};
use super::rope::RopeParameters;
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
    /// `max_position_embeddings` of `config.json`; scaled rotary embeddings may reach further.
    pub max_position_embeddings: usize,
    /// Added to the mean square in the norms.
    pub rms_norm_eps: f64,
    /// The rotary embedding.
    pub rope: RopeParameters,
    /// Tokens that a token can see back, itself included; all of them when absent.
    pub sliding_window: Option<usize>,
    /// Whether the embedding is the output layer, too.
    pub tie_word_embeddings: bool,
    /// Experts in a layer.
    pub num_local_experts: usize,
    /// Experts that a token visits in a layer.
    pub num_experts_per_tok: usize,
}

impl Config {
    /// Reads `config.json`. Fields that give a shape must be there; the others default as in transformers.
    ///
    /// # Errors
    ///
    /// Every field that is missing, of a wrong type, out of range or asks for what is not computed here (an
    /// activation other than `silu`, quantised weights).
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
        fields.not_quantized();
        let head_dim_given = head_dim.is_some();
        let head_dim = head_dim.unwrap_or((hidden_size / num_attention_heads).max(1));
        let max_position_embeddings =
            fields.optional_size("max_position_embeddings", limit::TOKENS).unwrap_or(4096 * 32);
        let config = Config {
            vocab_size: fields.size("vocab_size", limit::VOCABULARY),
            hidden_size,
            intermediate_size: fields.size("intermediate_size", limit::INTERMEDIATE),
            num_hidden_layers: fields.size("num_hidden_layers", limit::LAYERS),
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            head_dim_given,
            max_position_embeddings,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-5),
            rope: RopeParameters::read(&mut fields, 1e6, head_dim, max_position_embeddings),
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
            context: self.context(),
        }
    }

    /// The longest sequence, in tokens.
    pub fn context(&self) -> usize {
        self.rope.context(self.max_position_embeddings)
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

    /// Bytes of the key-value cache of one sequence of so many tokens in `dtype`: no more than a window's is kept.
    pub fn cache_bytes(&self, tokens: u64, dtype: DType) -> u64 {
        let key_value = self.num_key_value_heads as u64 * self.head_dim as u64;
        let kept = self.sliding_window.map_or(tokens, |window| tokens.min(window as u64));
        kept.saturating_mul(2 * self.num_hidden_layers as u64 * key_value * dtype.size() as u64)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rope::RopeScaling;
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
        assert_eq!(config.cache_bytes(1, DType::BF16), 131_072);
    }

    #[test]
    fn parameters_are_the_numbers_of_the_tensors() {
        for head in
            [Head::Base { nested: false }, Head::CausalLm, Head::SequenceClassification { num_labels: 3 }]
        {
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
        assert!(model.cache_bytes(limit::TOKENS as u64, DType::F32) > 1 << 62);
    }

    #[test]
    fn what_is_not_given_is_as_in_transformers() {
        let config = config(json!({"head_dim": null, "sliding_window": null})).unwrap();
        assert_eq!((config.head_dim, config.head_dim_given, config.num_key_value_heads), (128, false, 8));
        assert_eq!((config.rope.theta, config.rms_norm_eps), (1e6, 1e-5));
        assert_eq!(config.rope.scaling, RopeScaling::Unscaled);
        assert_eq!((config.max_position_embeddings, config.sliding_window), (131_072, None));
        assert!(!config.tie_word_embeddings);
        let config = self::config(json!({"num_key_value_heads": null})).unwrap();
        assert_eq!(config.num_key_value_heads, 32);
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
