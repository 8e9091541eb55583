//! Mixtral: a decoder whose feed-forward networks are mixtures of experts.
//!
//! Paper: <https://arxiv.org/abs/2401.04088>. Reference: `transformers.MixtralForCausalLM`, `MixtralModel` and
//! `MixtralForSequenceClassification`, whose tensor names it answers to.

use crate::error::Result;
use crate::gpu::Device;
use crate::kernels::attention::AttentionShape;
use crate::layers::{
    AttentionParts, Batch, BatchRotation, DeviceBatch, ExpertNames, GroupedQueryAttention, KvCache, RmsNorm,
    RotaryEmbedding, RoutingPolicy, RoutingStack, SparseExperts, Weights,
};
use crate::models::ends::{DecoderEnds, EndsShape, below_head};
use crate::tensor::Tensor;

pub use pipeline_schema::models::Head;
pub use pipeline_schema::models::mixtral::Config;

/// Attention, then a mixture of experts, each after a norm and added to what came in.
#[derive(Debug)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: GroupedQueryAttention,
    post_attention_layernorm: RmsNorm,
    block_sparse_moe: SparseExperts,
}

impl DecoderLayer {
    fn load(weights: &Weights<'_>, config: &Config) -> Result<DecoderLayer> {
        let hidden = config.hidden_size;
        let attention = AttentionShape {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            scale: (config.head_dim as f32).powf(-0.5),
            window: config.sliding_window,
        };
        Ok(DecoderLayer {
            input_layernorm: RmsNorm::load(&weights.pp("input_layernorm"), hidden, config.rms_norm_eps)?,
            self_attn: GroupedQueryAttention::load(
                &weights.pp("self_attn"),
                hidden,
                attention,
                AttentionParts::default(),
            )?,
            post_attention_layernorm: RmsNorm::load(
                &weights.pp("post_attention_layernorm"),
                hidden,
                config.rms_norm_eps,
            )?,
            block_sparse_moe: SparseExperts::load(
                &weights.pp("block_sparse_moe"),
                EXPERT_NAMES,
                config.num_local_experts,
                hidden,
                config.intermediate_size,
            )?,
        })
    }

    /// `(tokens, hidden_size) -> (tokens, hidden_size)`
    fn forward(&self, hidden: Tensor, pass: &mut Pass<'_>, index: usize) -> Result<Tensor> {
        let Pass { batch, rotation, cache, policy, routing } = pass;
        let hidden = self.self_attn.add_to(hidden, &self.input_layernorm, batch, rotation, cache, index)?;
        self.block_sparse_moe.add_to(hidden, &self.post_attention_layernorm, policy, routing)
    }
}

/// What all layers of a pass share.
struct Pass<'a> {
    batch: &'a Batch,
    rotation: BatchRotation,
    cache: &'a mut KvCache,
    policy: &'a RoutingPolicy,
    routing: RoutingStack,
}

const EXPERT_NAMES: ExpertNames = ExpertNames { gate: "w1", up: "w3", down: "w2" };

/// Mixtral with the head that its checkpoint has.
#[derive(Debug)]
pub struct Mixtral {
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
    /// The router's decision in each layer.
    pub routing: RoutingStack,
}

impl Mixtral {
    /// Reads the weights of `config`; `loaded` is called with the layers that are there and those there will be.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load(
        weights: &Weights<'_>,
        config: Config,
        head: Head,
        mut loaded: impl FnMut(usize, usize),
    ) -> Result<Mixtral> {
        let ends = EndsShape {
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            rms_norm_eps: config.rms_norm_eps,
            tie_word_embeddings: config.tie_word_embeddings,
        };
        let ends = DecoderEnds::load(weights, ends, head)?;
        let below = below_head(weights, head).pp("layers");
        let mut layers = Vec::new();
        for index in 0..config.num_hidden_layers {
            layers.push(DecoderLayer::load(&below.pp(index), &config)?);
            loaded(index + 1, config.num_hidden_layers);
        }
        let rotary = RotaryEmbedding::new(config.head_dim, &config.rope);
        Ok(Mixtral { config, layers, rotary, ends })
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

    /// The GPU that the model is on, `None` on the processor.
    pub fn device(&self) -> Option<&Device> {
        self.ends.device()
    }

    /// Takes the batch to where the model is, with the tokens of its rows, and embeds them: `(tokens, hidden_size)`.
    ///
    /// # Errors
    /// A token outside the vocabulary, or a device without room.
    pub fn embed(&self, batch: &mut Batch, tokens: &[u32]) -> Result<Tensor> {
        self.ends.embed(batch, tokens)
    }

    /// Embeds the tokens of a batch that is where the model is already.
    ///
    /// # Errors
    /// The device has no room.
    pub fn embed_on(&self, batch: &DeviceBatch) -> Result<Tensor> {
        self.ends.embed_on(batch)
    }

    /// Runs all layers over the embedded tokens of `batch`, `(tokens, hidden_size)`.
    ///
    /// # Errors
    /// The shapes do not fit each other.
    pub fn forward(
        &self,
        embedded: Tensor,
        batch: &Batch,
        cache: &mut KvCache,
        policy: &RoutingPolicy,
        keep_hidden_states: bool,
    ) -> Result<Forward> {
        cache.reserve(batch)?;
        let mut pass = Pass {
            batch,
            rotation: self.rotary.of(batch, cache.capacity())?,
            cache,
            policy,
            routing: RoutingStack::new(&embedded, self.layers.len(), self.config.num_local_experts, policy)?,
        };
        let mut hidden = embedded;
        let mut hidden_states = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if keep_hidden_states {
                hidden_states.push(hidden.clone());
            }
            hidden = layer.forward(hidden, &mut pass, index)?;
        }
        Ok(Forward { last_hidden_state: self.ends.norm(&hidden)?, hidden_states, routing: pass.routing })
    }

    /// What the head makes of hidden states: logits over the vocabulary or over the labels.
    ///
    /// # Errors
    /// The model has no head.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.ends.logits(hidden)
    }

    /// The policy that the checkpoint was trained with.
    pub fn routing_policy(&self) -> RoutingPolicy {
        RoutingPolicy { num_active_experts: self.config.num_experts_per_tok, capacity: None }
    }
}
