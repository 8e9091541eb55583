//! What stands at both ends of a decoder: the embedding of its tokens, and the last norm with the head.

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::layers::{Batch, CacheShape, DeviceBatch, Embedding, KvCache, Linear, RmsNorm, Weights};
use crate::tensor::Tensor;
use pipeline_schema::models::{Attention, Head};

/// The embedding, the last norm and the head of a decoder.
#[derive(Debug)]
pub struct DecoderEnds {
    embed_tokens: Embedding,
    norm: RmsNorm,
    /// From hidden states to what the head gives; `None` in a model without one.
    head: Option<Linear>,
}

/// The sizes of both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndsShape {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Added to the mean square in the norm.
    pub rms_norm_eps: f64,
    /// Whether the embedding is the output layer, too.
    pub tie_word_embeddings: bool,
}

impl DecoderEnds {
    /// Reads `embed_tokens` and `norm`, which are below `model.` where there is a head, and `lm_head` or `score`.
    ///
    /// # Errors
    /// A weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, shape: EndsShape, head: Head) -> Result<DecoderEnds> {
        let EndsShape { vocab_size, hidden_size, rms_norm_eps, tie_word_embeddings } = shape;
        let model = below_head(weights, head);
        let embed_tokens = Embedding::load(&model.pp("embed_tokens"), vocab_size, hidden_size)?;
        let head = match head {
            Head::Base { .. } => None,
            Head::CausalLm if tie_word_embeddings => Some(embed_tokens.tied()),
            Head::CausalLm => Some(Linear::load_output(&weights.pp("lm_head"), hidden_size, vocab_size)?),
            Head::SequenceClassification { num_labels } => {
                Some(Linear::load_output(&weights.pp("score"), hidden_size, num_labels)?)
            }
        };
        let norm = RmsNorm::load(&model.pp("norm"), hidden_size, rms_norm_eps)?;
        Ok(DecoderEnds { embed_tokens, norm, head })
    }

    /// The GPU that the model is on, `None` on the processor.
    pub fn device(&self) -> Option<&Device> {
        self.embed_tokens.device().map(|(device, _)| device)
    }

    /// An empty cache of so many layers for `slots` sequences of at most `tokens` tokens, where the model is.
    ///
    /// # Errors
    /// The device has no room.
    pub fn cache(&self, layers: usize, attention: Attention, slots: usize, tokens: usize) -> Result<KvCache> {
        match self.embed_tokens.device() {
            None => Ok(KvCache::new(layers, slots)),
            Some((device, dtype)) => {
                let Attention { num_key_value_heads: kv_heads, head_dim, .. } = attention;
                let shape = CacheShape { layers, kv_heads, head_dim, dtype };
                KvCache::on_device(device, shape, slots, tokens)
            }
        }
    }

    /// Takes the batch to where the model is, with the tokens of its rows, and embeds them: `(tokens, hidden_size)`.
    ///
    /// # Errors
    /// A token outside the vocabulary, or a device without room.
    pub fn embed(&self, batch: &mut Batch, tokens: &[u32]) -> Result<Tensor> {
        let Some(device) = self.device() else { return self.embed_tokens.forward(tokens) };
        self.embed_tokens.check(tokens)?;
        self.embed_on(batch.to_device(device, tokens)?)
    }

    /// Embeds the tokens of a batch that is where the model is already: `(tokens, hidden_size)`.
    ///
    /// # Errors
    /// The model is not on a device, or it has no room.
    pub fn embed_on(&self, batch: &DeviceBatch) -> Result<Tensor> {
        self.embed_tokens.forward_on(&batch.tokens, batch.rows)
    }

    /// Takes the batch and embeddings `(tokens, hidden_size)` of its rows to where the model is.
    ///
    /// # Errors
    /// A device without room.
    pub fn place(&self, batch: &mut Batch, embedded: Tensor) -> Result<Tensor> {
        let Some(device) = self.device() else { return Ok(embedded) };
        batch.to_device(device, &[])?;
        embedded.to_device(device)
    }

    /// The last norm: `(tokens, hidden_size) -> (tokens, hidden_size)`.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn norm(&self, hidden: &Tensor) -> Result<Tensor> {
        self.norm.forward(hidden)
    }

    /// What the head makes of hidden states: logits over the vocabulary or over the labels.
    ///
    /// # Errors
    /// The model has no head.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        match &self.head {
            Some(head) => head.logits(hidden),
            None => Err(Error::input("a model without a head gives no logits")),
        }
    }
}

/// The weights of the model below its head.
pub(super) fn below_head<'a>(weights: &Weights<'a>, head: Head) -> Weights<'a> {
    match head {
        Head::Base { nested: false } => weights.clone(),
        _ => weights.pp("model"),
    }
}
