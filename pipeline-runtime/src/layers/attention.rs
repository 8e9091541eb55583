//! Attention and the keys and values it remembers.

use crate::error::Result;
use crate::kernels::attention::{AttentionSequence, AttentionShape, attention};
use crate::kernels::rotary::{RotaryShape, rotary};
use crate::layers::{Batch, Linear, Rotation, Weights};
use crate::tensor::Tensor;

/// Causal attention in which a group of query heads shares a head of keys and values
/// (<https://arxiv.org/abs/2305.13245>).
#[derive(Clone, Debug)]
pub struct GroupedQueryAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    shape: AttentionShape,
}

impl GroupedQueryAttention {
    /// Reads `q_proj`, `k_proj`, `v_proj` and `o_proj`, none with a bias.
    ///
    /// # Errors
    /// A weight is missing or has another shape.
    pub fn load(
        weights: &Weights<'_>,
        hidden_size: usize,
        shape: AttentionShape,
    ) -> Result<GroupedQueryAttention> {
        let query_width = shape.heads * shape.head_dim;
        let key_width = shape.kv_heads * shape.head_dim;
        Ok(GroupedQueryAttention {
            q_proj: Linear::load(&weights.pp("q_proj"), hidden_size, query_width)?,
            k_proj: Linear::load(&weights.pp("k_proj"), hidden_size, key_width)?,
            v_proj: Linear::load(&weights.pp("v_proj"), hidden_size, key_width)?,
            o_proj: Linear::load(&weights.pp("o_proj"), query_width, hidden_size)?,
            shape,
        })
    }

    /// The attention with these maps.
    pub fn new(
        [q_proj, k_proj, v_proj, o_proj]: [Linear; 4],
        shape: AttentionShape,
    ) -> GroupedQueryAttention {
        GroupedQueryAttention { q_proj, k_proj, v_proj, o_proj, shape }
    }

    /// `(tokens, hidden_size) -> (tokens, hidden_size)`; the keys and values of the tokens are added to `cache`.
    ///
    /// # Errors
    /// The input has another width.
    pub fn forward(
        &self,
        hidden: &Tensor,
        batch: &Batch,
        rotation: &Rotation,
        cache: &mut LayerCache,
    ) -> Result<Tensor> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let mut query = self.q_proj.forward(hidden)?.to_vec()?; // (tokens, heads * head_dim)
        let mut key = self.k_proj.forward(hidden)?.to_vec()?; // (tokens, kv_heads * head_dim)
        let value = self.v_proj.forward(hidden)?;
        let rotary_shape = |heads| RotaryShape { heads, head_dim, rotary_dim: head_dim };
        rotary(&mut query, &rotation.rows, rotation.tables(), rotary_shape(heads));
        rotary(&mut key, &rotation.rows, rotation.tables(), rotary_shape(kv_heads));
        cache.append(batch, &key, &value.as_slice()?, kv_heads * head_dim);

        let sequences: Vec<AttentionSequence<'_>> = batch
            .sequences
            .iter()
            .map(|sequence| AttentionSequence {
                queries: sequence.rows.clone(),
                keys: &cache.keys[sequence.slot],
                values: &cache.values[sequence.slot],
                key_mask: sequence.key_mask.as_deref(),
            })
            .collect();
        let mut mixed = vec![0.0; query.len()]; // (tokens, heads * head_dim)
        attention(&query, &sequences, &mut mixed, self.shape);
        self.o_proj.forward(&Tensor::from_vec(mixed, &[batch.rows(), heads * head_dim])?)
    }
}

/// The keys and values of all layers: what a call remembers of its tokens.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
}

/// The keys and values of one layer, for each sequence `(tokens, kv_heads, head_dim)`.
#[derive(Clone, Debug)]
pub struct LayerCache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl KvCache {
    /// An empty cache for `slots` sequences. It grows with the tokens.
    pub fn new(layers: usize, slots: usize) -> KvCache {
        let layer = LayerCache { keys: vec![Vec::new(); slots], values: vec![Vec::new(); slots] };
        KvCache { layers: vec![layer; layers] }
    }

    /// The cache of one layer.
    pub fn layer(&mut self, layer: usize) -> &mut LayerCache {
        &mut self.layers[layer]
    }

    /// Gives back the memory of a sequence that is finished.
    pub fn release(&mut self, slot: usize) {
        for layer in &mut self.layers {
            layer.keys[slot] = Vec::new();
            layer.values[slot] = Vec::new();
        }
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        let length = |numbers: &[Vec<f32>]| numbers.iter().map(Vec::len).sum::<usize>();
        self.layers.iter().map(|layer| 4 * (length(&layer.keys) + length(&layer.values))).sum()
    }
}

impl LayerCache {
    fn append(&mut self, batch: &Batch, keys: &[f32], values: &[f32], width: usize) {
        for sequence in &batch.sequences {
            let range = sequence.rows.start * width..sequence.rows.end * width;
            self.keys[sequence.slot].extend_from_slice(&keys[range.clone()]);
            self.values[sequence.slot].extend_from_slice(&values[range]);
        }
    }
}
