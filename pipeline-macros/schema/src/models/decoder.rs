//! Dense decoders: what Llama, Mistral, Qwen2 and Qwen3 have in common, and in what they differ.
//!
//! Each layer is attention and a gated feed-forward network. The families differ in which maps have biases, whether
//! the heads of queries and keys are normed, which layers see a window only, and in defaults. A file per family
//! ([`llama`](super::llama), [`mistral`](super::mistral), [`qwen2`](super::qwen2), [`qwen3`](super::qwen3)) reads its
//! `config.json` into this one [`Config`].

use super::fields::{Fields, limit};
use super::rope::RopeParameters;
use super::{Attention, Head, RequiredTensor};
use crate::dtype::DType;

/// The configuration of a dense decoder.
///
/// Every size is at least 1 and so bounded that no product of them overflows 64 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `model_type` of `config.json`.
    pub model_type: &'static str,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Numbers in the hidden layer of a feed-forward network.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Numbers in a head.
    pub head_dim: usize,
    /// Whether `head_dim` was given; otherwise it is the hidden size divided by the heads.
    pub head_dim_given: bool,
    /// `max_position_embeddings` of `config.json`; scaled rotary embeddings may reach further.
    pub max_position_embeddings: usize,
    /// Added to the mean square in the norms.
    pub rms_norm_eps: f64,
    /// The rotary embedding.
    pub rope: RopeParameters,
    /// For each layer, tokens that a token can see back, itself included; all of them where there is no window.
    pub windows: Vec<Option<usize>>,
    /// Whether the maps to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the map out of the attention has a bias.
    pub o_bias: bool,
    /// Whether the feed-forward networks have biases.
    pub mlp_bias: bool,
    /// Whether each head of queries and keys goes through a norm.
    pub qk_norm: bool,
    /// Whether the embedding is the output layer, too.
    pub tie_word_embeddings: bool,
}

/// What a family takes for fields that are absent.
pub(super) struct Defaults {
    pub(super) model_type: &'static str,
    /// `None`: as many as there are heads, which is also what `null` means in every family.
    pub(super) num_key_value_heads: Option<usize>,
    /// `None`: the hidden size divided by the heads.
    pub(super) head_dim: Option<usize>,
    pub(super) max_position_embeddings: usize,
}

impl Config {
    /// Reads what all families have: no biases, no norms of heads, no windows.
    pub(super) fn read(fields: &mut Fields<'_>, defaults: &Defaults) -> Config {
        let hidden_size = fields.size("hidden_size", limit::HIDDEN);
        let num_attention_heads = fields.size("num_attention_heads", limit::HEADS);
        let num_hidden_layers = fields.size("num_hidden_layers", limit::LAYERS);
        let num_key_value_heads =
            match (fields.is_absent("num_key_value_heads"), defaults.num_key_value_heads) {
                (true, Some(heads)) => heads,
                _ => fields.optional_size("num_key_value_heads", limit::HEADS).unwrap_or(num_attention_heads),
            };
        let given = fields.optional_size("head_dim", limit::HEAD_DIM).or(defaults.head_dim);
        let head_dim = given.unwrap_or((hidden_size / num_attention_heads).max(1));
        let max_position_embeddings = fields
            .optional_size("max_position_embeddings", limit::TOKENS)
            .unwrap_or(defaults.max_position_embeddings);
        fields.only("hidden_act", "silu");
        fields.not_quantized();
        Config {
            model_type: defaults.model_type,
            vocab_size: fields.size("vocab_size", limit::VOCABULARY),
            hidden_size,
            intermediate_size: fields.size("intermediate_size", limit::INTERMEDIATE),
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            head_dim_given: given.is_some(),
            max_position_embeddings,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-6),
            rope: RopeParameters::read(fields, 1e4, head_dim, max_position_embeddings),
            windows: vec![None; num_hidden_layers],
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            tie_word_embeddings: fields.boolean("tie_word_embeddings", false),
        }
    }

    /// Every tensor that a checkpoint with this head must have, in the reference's own names.
    pub fn tensors(&self, head: Head) -> impl Iterator<Item = RequiredTensor> + use<> {
        let Config { vocab_size, hidden_size, .. } = *self;
        let prefix = head.prefix();
        let layer = self.layer();
        let layers = (0..self.num_hidden_layers).flat_map(move |index| {
            let name =
                move |(name, shape): (String, Vec<usize>)| (format!("{prefix}layers.{index}.{name}"), shape);
            layer.clone().into_iter().map(name)
        });
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
            .chain(layers)
            .chain(std::iter::once((format!("{prefix}norm.weight"), vec![hidden_size])))
            .chain(top)
    }

    /// The tensors of one layer, below `layers.N.`.
    fn layer(&self) -> Vec<RequiredTensor> {
        let Config { hidden_size: hidden, intermediate_size: intermediate, head_dim, .. } = *self;
        let query = self.num_attention_heads * head_dim;
        let key_value = self.num_key_value_heads * head_dim;
        let mut tensors = vec![
            ("input_layernorm.weight".to_owned(), vec![hidden]),
            ("post_attention_layernorm.weight".to_owned(), vec![hidden]),
        ];
        if self.qk_norm {
            tensors.push(("self_attn.q_norm.weight".to_owned(), vec![head_dim]));
            tensors.push(("self_attn.k_norm.weight".to_owned(), vec![head_dim]));
        }
        for (map, shape, bias) in [
            ("self_attn.q_proj", [query, hidden], self.qkv_bias),
            ("self_attn.k_proj", [key_value, hidden], self.qkv_bias),
            ("self_attn.v_proj", [key_value, hidden], self.qkv_bias),
            ("self_attn.o_proj", [hidden, query], self.o_bias),
            ("mlp.gate_proj", [intermediate, hidden], self.mlp_bias),
            ("mlp.up_proj", [intermediate, hidden], self.mlp_bias),
            ("mlp.down_proj", [hidden, intermediate], self.mlp_bias),
        ] {
            tensors.push((format!("{map}.weight"), shape.to_vec()));
            tensors.extend(bias.then(|| (format!("{map}.bias"), vec![shape[0]])));
        }
        tensors
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

    /// Parameters: numbers in all weights, a tied output layer counted once.
    pub fn parameter_count(&self, head: Head) -> u64 {
        let numbers = |shape: &[usize]| shape.iter().map(|&size| size as u64).product::<u64>();
        let layer: u64 = self.layer().iter().map(|(_, shape)| numbers(shape)).sum();
        let top = match head {
            Head::CausalLm if !self.tie_word_embeddings => self.vocab_size,
            Head::SequenceClassification { num_labels } => num_labels,
            Head::CausalLm | Head::Base { .. } => 0,
        };
        let rows = self.vocab_size as u64 + 1 + top as u64;
        self.num_hidden_layers as u64 * layer + rows * self.hidden_size as u64
    }

    /// Bytes of the key-value cache of one sequence of so many tokens in `dtype`: a layer with a window keeps no more
    /// than that.
    pub fn cache_bytes(&self, tokens: u64, dtype: DType) -> u64 {
        let token = 2 * self.num_key_value_heads as u64 * self.head_dim as u64 * dtype.size() as u64;
        let kept = |window: &Option<usize>| window.map_or(tokens, |window| tokens.min(window as u64));
        self.windows.iter().fold(0, |sum: u64, window| sum.saturating_add(kept(window).saturating_mul(token)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::models::{ModelConfig, RopeScaling};

    fn model(json: Value) -> Result<ModelConfig, Vec<String>> {
        let mut fields = json!({
            "vocab_size": 40, "hidden_size": 24, "intermediate_size": 30, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2,
        });
        let fields = fields.as_object_mut().unwrap();
        fields.extend(json.as_object().unwrap().clone());
        ModelConfig::from_json(fields).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn config(json: Value) -> Config {
        match model(json).unwrap() {
            ModelConfig::Decoder(config) => config,
            other => panic!("{other:?} is no decoder"),
        }
    }

    /// Parameters and bytes of cache for one token, in bf16, of published models.
    #[test]
    fn published_models_have_their_published_sizes() {
        for (json, parameters, cache) in [
            (
                json!({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
                    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}),
                8_030_261_248,
                131_072,
            ),
            (
                json!({"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
                    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}),
                7_241_732_096,
                131_072,
            ),
            (
                json!({"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
                    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}),
                7_615_616_512,
                57_344,
            ),
            (
                json!({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
                    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8}),
                8_190_735_360,
                147_456,
            ),
        ] {
            let config = config(json);
            assert_eq!(config.parameter_count(Head::CausalLm), parameters, "{}", config.model_type);
            assert_eq!(config.cache_bytes(1, DType::BF16), cache, "{}", config.model_type);
        }
    }

    #[test]
    fn parameters_are_the_numbers_of_the_tensors() {
        for head in
            [Head::Base { nested: false }, Head::CausalLm, Head::SequenceClassification { num_labels: 3 }]
        {
            for model_type in ["llama", "mistral", "qwen2", "qwen3"] {
                for given in [false, true] {
                    let config = config(json!({
                        "model_type": model_type, "tie_word_embeddings": given, "attention_bias": given,
                        "mlp_bias": given,
                    }));
                    let numbers =
                        config.tensors(head).map(|(_, shape)| shape.iter().product::<usize>() as u64);
                    assert_eq!(numbers.sum::<u64>(), config.parameter_count(head), "{model_type}");
                }
            }
        }
    }

    #[test]
    fn families_differ_in_biases_and_norms() {
        let names = |json: Value| -> Vec<String> {
            let ends = |name: &str| name.ends_with("bias") || name.contains("_norm.");
            config(json).layer().into_iter().map(|(name, _)| name).filter(|name| ends(name)).collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(names(json!({"model_type": "llama"})), none);
        assert_eq!(names(json!({"model_type": "mistral", "attention_bias": true})), none);
        let of_attention =
            ["q_proj", "k_proj", "v_proj", "o_proj"].map(|map| format!("self_attn.{map}.bias"));
        let of_mlp = ["gate_proj", "up_proj", "down_proj"].map(|map| format!("mlp.{map}.bias"));
        assert_eq!(names(json!({"model_type": "llama", "attention_bias": true})), of_attention);
        assert_eq!(names(json!({"model_type": "llama", "mlp_bias": true})), of_mlp);
        assert_eq!(names(json!({"model_type": "qwen2"})), of_attention[..3]);
        let norms = ["q_norm", "k_norm"].map(|norm| format!("self_attn.{norm}.weight"));
        assert_eq!(names(json!({"model_type": "qwen3"})), norms);
        assert_eq!(names(json!({"model_type": "qwen3", "attention_bias": true}))[2..], of_attention);
    }

    #[test]
    fn what_is_not_given_is_as_in_transformers() {
        let bare = |model_type: &str, field: &str, value: Value| {
            let mut fields = Map::from_iter([("model_type".to_owned(), json!(model_type))]);
            fields.insert(field.to_owned(), value);
            let sizes = json!({"vocab_size": 40, "hidden_size": 4096, "intermediate_size": 30,
                "num_hidden_layers": 30, "num_attention_heads": 64});
            fields.extend(sizes.as_object().unwrap().clone());
            match ModelConfig::from_json(&fields).unwrap() {
                ModelConfig::Decoder(config) => config,
                other => panic!("{other:?} is no decoder"),
            }
        };
        for (model_type, key_value_heads, head_dim, positions, window) in [
            ("llama", 64, 64, 2048, None),
            ("mistral", 8, 64, 131_072, Some(4096)),
            ("qwen2", 32, 64, 32768, None),
            ("qwen3", 32, 128, 32768, None),
        ] {
            let config = bare(model_type, "head_dim", Value::Null);
            let sizes = (config.num_key_value_heads, config.head_dim, config.max_position_embeddings);
            assert_eq!(sizes, (key_value_heads, head_dim, positions), "{model_type}");
            assert_eq!((config.rope.theta, config.rms_norm_eps), (1e4, 1e-6));
            assert_eq!((config.rope.scaling, config.windows), (RopeScaling::Unscaled, vec![window; 30]));
            assert_eq!(bare(model_type, "num_key_value_heads", Value::Null).num_key_value_heads, 64);
            assert_eq!(bare(model_type, "sliding_window", Value::Null).windows, [None; 30]);
        }
    }

    #[test]
    fn the_windows_of_qwen_are_of_later_layers_or_listed() {
        let windows = |json: Value| config(json).windows;
        let used = json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 5});
        let with = |field: &str, value: Value| {
            let mut used = used.clone();
            used[field] = value;
            used
        };
        assert_eq!(windows(used.clone()), [None; 3]);
        assert_eq!(windows(with("max_window_layers", json!(1))), [None, Some(5), Some(5)]);
        assert_eq!(windows(with("max_window_layers", json!(0))), [Some(5); 3]);
        let (full, sliding) = ("full_attention", "sliding_attention");
        let listed = json!([sliding, full, sliding]);
        assert_eq!(windows(with("layer_types", listed.clone())), [Some(5), None, Some(5)]);
        let problems = |json: Value| model(json).unwrap_err().join("; ");
        assert_eq!(
            problems(with("layer_types", json!([full]))),
            "`layer_types` has 1 entries for 3 layers (config.json: layer_types)"
        );
        assert_eq!(
            problems(with("layer_types", json!([full, "chunked_attention", full]))),
            "`layer_types` has `chunked_attention`, expected `full_attention` or `sliding_attention` \
             (config.json: layer_types)"
        );
        let unused = json!({"model_type": "qwen3", "sliding_window": 5, "layer_types": listed});
        assert!(problems(unused).starts_with("`layer_types` has `sliding_attention`, but there is no"));
    }

    #[test]
    fn a_window_bounds_the_cache() {
        let window = config(json!({"model_type": "mistral", "sliding_window": 5}));
        assert_eq!(window.cache_bytes(1000, DType::F32), 5 * window.cache_bytes(1, DType::F32));
        assert_eq!(window.cache_bytes(3, DType::F32), 3 * window.cache_bytes(1, DType::F32));
    }

    #[test]
    fn the_greatest_sizes_do_not_overflow() {
        let greatest = config(json!({
            "model_type": "qwen3", "attention_bias": true, "vocab_size": limit::VOCABULARY,
            "hidden_size": limit::HIDDEN, "intermediate_size": limit::INTERMEDIATE,
            "num_hidden_layers": limit::LAYERS, "num_attention_heads": limit::HEADS,
            "num_key_value_heads": limit::HEADS, "head_dim": limit::HEAD_DIM,
            "max_position_embeddings": limit::TOKENS,
            "rope_scaling": {"rope_type": "dynamic", "factor": 1e300},
        }));
        assert!(greatest.parameter_count(Head::CausalLm) > 1 << 50);
        assert_eq!(greatest.cache_bytes(u64::MAX, DType::F32), u64::MAX);
        assert_eq!(greatest.context(), limit::TOKENS);
    }

    #[test]
    fn all_wrong_fields_are_told_at_once() {
        let problems = model(json!({
            "model_type": "llama", "hidden_size": 0, "hidden_act": "gelu", "attention_bias": 1,
            "rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": []},
        }));
        assert_eq!(
            problems.unwrap_err(),
            [
                "`hidden_size` must be a whole number from 1 to 262144, but is 0 (config.json: hidden_size)",
                "`hidden_act` must be `silu`, but is `gelu` (config.json: hidden_act)",
                "`attention_bias` must be `true` or `false`, but is 1 (config.json: attention_bias)",
            ]
        );
    }
}
