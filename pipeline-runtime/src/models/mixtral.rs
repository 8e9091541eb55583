//! Mixtral: a decoder whose feed-forward networks are mixtures of experts.
//!
//! Paper: <https://arxiv.org/abs/2401.04088>. Reference: `transformers.MixtralForCausalLM`, `MixtralModel` and
//! `MixtralForSequenceClassification`, whose tensor names it answers to.

use crate::error::{Error, Result};
use crate::kernels::attention::AttentionShape;
use crate::layers::{
    AttentionParts, Batch, Embedding, GroupedQueryAttention, KvCache, LayerRouting, Linear, RmsNorm,
    RotaryEmbedding, Rotation, RoutingPolicy, SparseExperts, SwiGlu, TopKRouter, Weights,
};
use crate::tensor::Tensor;

pub use pipeline_schema::models::Head;
pub use pipeline_schema::models::mixtral::Config;

/// Attention, then a mixture of experts, each after a norm and added to what came in.
#[derive(Debug)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: GroupedQueryAttention,
    post_attention_layernorm: RmsNorm,
    gate: TopKRouter,
    experts: SparseExperts,
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
        let sparse = weights.pp("block_sparse_moe");
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
            gate: TopKRouter::load(&sparse.pp("gate"), hidden, config.num_local_experts)?,
            experts: load_experts(&sparse.pp("experts"), config)?,
        })
    }

    /// `(tokens, hidden_size) -> (tokens, hidden_size)`
    fn forward(
        &self,
        hidden: &Tensor,
        batch: &Batch,
        rotation: &Rotation,
        cache: &mut KvCache,
        index: usize,
        policy: &RoutingPolicy,
    ) -> Result<(Tensor, LayerRouting)> {
        let normed = self.input_layernorm.forward(hidden)?;
        let attended = self.self_attn.forward(&normed, batch, rotation, cache.layer(index))?;
        let hidden = hidden.add(&attended)?;

        let normed = self.post_attention_layernorm.forward(&hidden)?;
        let routing = self.gate.forward(&normed, policy)?;
        let mixed = self.experts.forward(&normed, &routing.routing)?;
        Ok((hidden.add(&mixed)?, routing))
    }
}

fn load_experts(weights: &Weights<'_>, config: &Config) -> Result<SparseExperts> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let expert = |index: usize| {
        let weights = weights.pp(index);
        Ok(SwiGlu {
            gate: weights.matrix("w1.weight", intermediate, hidden)?,
            up: weights.matrix("w3.weight", intermediate, hidden)?,
            down: weights.matrix("w2.weight", hidden, intermediate)?,
        })
    };
    let experts = (0..config.num_local_experts).map(expert).collect::<Result<_>>()?;
    Ok(SparseExperts::new(experts, hidden, intermediate))
}

/// Mixtral with the head that its checkpoint has.
#[derive(Debug)]
pub struct Mixtral {
    config: Config,
    embed_tokens: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    rotary: RotaryEmbedding,
    /// From hidden states to what the head gives; `None` in a `MixtralModel`.
    head: Option<Linear>,
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Forward {
    /// The hidden states after the last norm `(tokens, hidden_size)`.
    pub last_hidden_state: Tensor,
    /// What went into each layer `(tokens, hidden_size)`, if it was asked for.
    pub hidden_states: Vec<Tensor>,
    /// The router's decision in each layer.
    pub routing: Vec<LayerRouting>,
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
        let (vocabulary, hidden) = (config.vocab_size, config.hidden_size);
        let model = match head {
            Head::Base { nested: false } => weights.clone(),
            _ => weights.pp("model"),
        };
        let embed_tokens = Embedding::load(&model.pp("embed_tokens"), vocabulary, hidden)?;
        let mut layers = Vec::new();
        for index in 0..config.num_hidden_layers {
            layers.push(DecoderLayer::load(&model.pp("layers").pp(index), &config)?);
            loaded(index + 1, config.num_hidden_layers);
        }
        let head = match head {
            Head::Base { .. } => None,
            Head::CausalLm if config.tie_word_embeddings => Some(embed_tokens.tied()),
            Head::CausalLm => Some(Linear::load(&weights.pp("lm_head"), hidden, vocabulary)?),
            Head::SequenceClassification { num_labels } => {
                Some(Linear::load(&weights.pp("score"), hidden, num_labels)?)
            }
        };
        let norm = RmsNorm::load(&model.pp("norm"), hidden, config.rms_norm_eps)?;
        let rotary = RotaryEmbedding::new(config.head_dim, &config.rope);
        Ok(Mixtral { config, embed_tokens, layers, norm, rotary, head })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// An empty cache for `slots` sequences.
    pub fn cache(&self, slots: usize) -> KvCache {
        KvCache::new(self.layers.len(), slots)
    }

    /// `(tokens) -> (tokens, hidden_size)`
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        self.embed_tokens.forward(tokens)
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
        let rotation = self.rotary.at(batch);
        let mut hidden = embedded;
        let mut hidden_states = Vec::new();
        let mut routing = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            if keep_hidden_states {
                hidden_states.push(hidden.clone());
            }
            let (next, decision) = layer.forward(&hidden, batch, &rotation, cache, index, policy)?;
            hidden = next;
            routing.push(decision);
        }
        Ok(Forward { last_hidden_state: self.norm.forward(&hidden)?, hidden_states, routing })
    }

    /// What the head makes of hidden states: logits over the vocabulary or over the labels.
    ///
    /// # Errors
    /// The model has no head.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        match &self.head {
            Some(head) => head.forward(hidden),
            None => Err(Error::input("a `MixtralModel` has no head that gives logits")),
        }
    }

    /// The policy that the checkpoint was trained with.
    pub fn routing_policy(&self) -> RoutingPolicy {
        RoutingPolicy { num_active_experts: self.config.num_experts_per_tok, capacity: None }
    }
}
