//! Dense decoders: Llama, Mistral, Qwen2 and Qwen3.
//!
//! | family | paper | reference | of its own |
//! |---|---|---|---|
//! | Llama 1 to 3 | <https://arxiv.org/abs/2302.13971>, <https://arxiv.org/abs/2407.21783> | `LlamaForCausalLM` | biases where the configuration asks for them |
//! | Mistral | <https://arxiv.org/abs/2310.06825> | `MistralForCausalLM` | a window in every layer |
//! | Qwen2, Qwen2.5 | <https://arxiv.org/abs/2407.10671> | `Qwen2ForCausalLM` | biases of queries, keys and values; a window in some layers |
//! | Qwen3 | <https://arxiv.org/abs/2505.09388> | `Qwen3ForCausalLM` | a norm for each head of queries and keys |
//!
//! The reference has each as `...Model` and `...ForSequenceClassification`, too. What distinguishes them is in the
//! [`Config`] that their `config.json` is read into.

use crate::error::Result;
use crate::kernels::attention::AttentionShape;
use crate::layers::{
    AttentionParts, Batch, BatchRotation, GatedMlp, GroupedQueryAttention, KvCache, RmsNorm, RotaryEmbedding,
    Weights,
};
use crate::models::ends::{DecoderEnds, EndsShape, below_head};
use crate::tensor::Tensor;

pub use pipeline_schema::models::Head;
pub use pipeline_schema::models::decoder::Config;

/// Attention, then a gated feed-forward network, each after a norm and added to what came in.
#[derive(Debug)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: GroupedQueryAttention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

impl DecoderLayer {
    /// Reads a layer whose tokens can see `window` tokens back.
    fn load(weights: &Weights<'_>, config: &Config, window: Option<usize>) -> Result<DecoderLayer> {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let shape = AttentionShape {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            scale: (config.head_dim as f32).powf(-0.5),
            window,
        };
        let parts = AttentionParts {
            qkv_bias: config.qkv_bias,
            o_bias: config.o_bias,
            qk_norm: config.qk_norm.then_some(eps),
        };
        Ok(DecoderLayer {
            input_layernorm: RmsNorm::load(&weights.pp("input_layernorm"), hidden, eps)?,
            self_attn: GroupedQueryAttention::load(&weights.pp("self_attn"), hidden, shape, parts)?,
            post_attention_layernorm: RmsNorm::load(&weights.pp("post_attention_layernorm"), hidden, eps)?,
            mlp: GatedMlp::load(&weights.pp("mlp"), hidden, config.intermediate_size, config.mlp_bias)?,
        })
    }

    /// `(tokens, hidden_size) -> (tokens, hidden_size)`
    fn forward(
        &self,
        hidden: Tensor,
        batch: &Batch,
        rotation: &BatchRotation,
        cache: &mut KvCache,
        index: usize,
    ) -> Result<Tensor> {
        let hidden = self.self_attn.add_to(hidden, &self.input_layernorm, batch, rotation, cache, index)?;
        self.mlp.add_to(hidden, &self.post_attention_layernorm)
    }
}

/// A dense decoder with the head that its checkpoint has.
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    layers: Vec<DecoderLayer>,
    rotary: RotaryEmbedding,
    ends: DecoderEnds,
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Forward {
    /// The hidden states after the last norm `(tokens, hidden_size)`.
    pub last_hidden_state: Tensor,
    /// What went into each layer `(tokens, hidden_size)`, if it was asked for.
    pub hidden_states: Vec<Tensor>,
}

impl Decoder {
    /// Reads the weights of `config`; `loaded` is called with the layers that are there and those there will be.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load(
        weights: &Weights<'_>,
        config: Config,
        head: Head,
        mut loaded: impl FnMut(usize, usize),
    ) -> Result<Decoder> {
        let ends = EndsShape {
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            rms_norm_eps: config.rms_norm_eps,
            tie_word_embeddings: config.tie_word_embeddings,
        };
        let ends = DecoderEnds::load(weights, ends, head)?;
        let below = below_head(weights, head).pp("layers");
        let mut layers = Vec::new();
        for (index, &window) in config.windows.iter().enumerate() {
            layers.push(DecoderLayer::load(&below.pp(index), &config, window)?);
            loaded(index + 1, config.num_hidden_layers);
        }
        let rotary = RotaryEmbedding::new(config.head_dim, &config.rope);
        Ok(Decoder { config, layers, rotary, ends })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The embedding, the last norm and the head.
    pub fn ends(&self) -> &DecoderEnds {
        &self.ends
    }

    /// An empty cache for `slots` sequences of at most `tokens` tokens, where the model is.
    ///
    /// # Errors
    /// The device has no room.
    pub fn cache(&self, slots: usize, tokens: usize) -> Result<KvCache> {
        self.ends.cache(self.layers.len(), self.config.attention(), slots, tokens)
    }

    /// Runs all layers over the embedded tokens of `batch`, `(tokens, hidden_size)`.
    ///
    /// # Errors
    /// The shapes do not fit each other, or a device has no room.
    pub fn forward(
        &self,
        embedded: Tensor,
        batch: &Batch,
        cache: &mut KvCache,
        keep_hidden_states: bool,
    ) -> Result<Forward> {
        cache.reserve(batch)?;
        let rotation = self.rotary.of(batch, cache.capacity())?;
        let mut hidden = embedded;
        let mut hidden_states = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if keep_hidden_states {
                hidden_states.push(hidden.clone());
            }
            hidden = layer.forward(hidden, batch, &rotation, cache, index)?;
        }
        Ok(Forward { last_hidden_state: self.ends.norm(&hidden)?, hidden_states })
    }
}
