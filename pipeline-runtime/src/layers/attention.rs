//! Attention and the keys and values it remembers.

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::kernels::attention::gpu::{self, DeviceKeyMask, DeviceRotary, HeadNorms, NewTokens};
use crate::kernels::attention::{AttentionSequence, AttentionShape, attention};
use crate::kernels::rotary::{RotaryShape, rotary};
use crate::layers::paged_cache::{CacheShape, PagedCache};
use crate::layers::rotary::{BatchRotation, DeviceRotation, Rotation};
use crate::layers::{Batch, DeviceBatch, Linear, RmsNorm, Weights};
use crate::tensor::{DeviceTensor, Tensor};

/// Causal attention in which a group of query heads shares a head of keys and values
/// (<https://arxiv.org/abs/2305.13245>).
#[derive(Clone, Debug)]
pub struct GroupedQueryAttention {
    projections: Projections,
    o_proj: Linear,
    /// Norms of each head of queries and of keys, before they are rotated.
    qk_norm: Option<[RmsNorm; 2]>,
    shape: AttentionShape,
}

/// The maps to queries, keys and values.
#[derive(Clone, Debug)]
enum Projections {
    /// On the processor, where the weights stay where they are in their file.
    Apart(Box<[Linear; 3]>),
    /// On a GPU, where one product does for all three.
    Stacked(Linear),
}

/// What an attention has beside its four weight matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionParts {
    /// `q_proj`, `k_proj` and `v_proj` have biases.
    pub qkv_bias: bool,
    /// `o_proj` has a bias.
    pub o_bias: bool,
    /// `q_norm` and `k_norm` norm each head, with this added to the mean square.
    pub qk_norm: Option<f64>,
}

impl GroupedQueryAttention {
    /// Reads `q_proj`, `k_proj`, `v_proj` and `o_proj`, and what `parts` says of `q_norm` and `k_norm`.
    ///
    /// # Errors
    /// A weight is missing or has another shape.
    pub fn load(
        weights: &Weights<'_>,
        hidden_size: usize,
        shape: AttentionShape,
        parts: AttentionParts,
    ) -> Result<GroupedQueryAttention> {
        let query_width = shape.heads * shape.head_dim;
        let key_width = shape.kv_heads * shape.head_dim;
        let maps = [("q_proj", query_width), ("k_proj", key_width), ("v_proj", key_width)];
        let map = |(name, width)| Linear::load_with(&weights.pp(name), hidden_size, width, parts.qkv_bias);
        let norm = |name, eps| RmsNorm::load(&weights.pp(name), shape.head_dim, eps);
        let projections = match weights.gpu() {
            None => Projections::Apart(Box::new([map(maps[0])?, map(maps[1])?, map(maps[2])?])),
            Some(_) => {
                let maps = maps.map(|(name, width)| (weights.pp(name), width));
                Projections::Stacked(Linear::load_stacked(&maps, hidden_size, parts.qkv_bias)?)
            }
        };
        Ok(GroupedQueryAttention {
            projections,
            o_proj: Linear::load_with(&weights.pp("o_proj"), query_width, hidden_size, parts.o_bias)?,
            qk_norm: match parts.qk_norm {
                Some(eps) => Some([norm("q_norm", eps)?, norm("k_norm", eps)?]),
                None => None,
            },
            shape,
        })
    }

    /// `hidden` and the attention over its norm added: `(tokens, hidden_size) -> (tokens, hidden_size)`. The keys and
    /// values of the tokens are added to the `layer` of `cache`.
    ///
    /// # Errors
    /// The input has another width, or is not where the weights and the cache are.
    pub fn add_to(
        &self,
        hidden: Tensor,
        norm: &RmsNorm,
        batch: &Batch,
        rotation: &BatchRotation,
        cache: &mut KvCache,
        layer: usize,
    ) -> Result<Tensor> {
        let mixed = match (&self.projections, rotation, &mut cache.storage) {
            (Projections::Apart(maps), BatchRotation::Host(rotation), Storage::Host(layers)) => {
                let normed = norm.forward(&hidden)?;
                let [query, key, value] = maps.each_ref().map(|map| map.forward(&normed));
                self.mix([query?, key?, value?], batch, rotation, &mut layers[layer])?
            }
            (Projections::Stacked(map), BatchRotation::Device(rotation), Storage::Device(cache)) => {
                let stacked = map.forward_normed(&hidden, norm)?;
                let on_device = batch.device.as_ref().expect("a batch with device rotations is on it");
                self.mix_on(&stacked.into_device()?, on_device, rotation, cache, layer)?.into()
            }
            _ => {
                return Err(Error::Shape {
                    operation: "attention",
                    expected: "weights, batch and cache in one place".to_owned(),
                    found: format!("{:?}", hidden.shape()),
                });
            }
        };
        self.o_proj.add_to(hidden, &mixed)
    }

    /// The same on a GPU, from queries, keys and values beside each other.
    fn mix_on(
        &self,
        stacked: &DeviceTensor,
        batch: &DeviceBatch,
        rotation: &DeviceRotation,
        cache: &mut PagedCache,
        layer: usize,
    ) -> Result<DeviceTensor> {
        let (shape, dtype, device) = (self.shape, stacked.dtype(), stacked.device());
        let norms = match &self.qk_norm {
            Some([query, key]) => Some((
                query.weight().clone().into_device()?,
                key.weight().clone().into_device()?,
                query.epsilon(),
            )),
            None => None,
        };
        let norms = norms.as_ref().map(|(query, key, epsilon)| HeadNorms {
            query: query.buffer(),
            key: key.buffer(),
            epsilon: *epsilon,
        });
        if batch.one_row_each {
            cache.prepare_steps(batch.rows, shape)?;
        }
        let tokens = NewTokens {
            qkv: stacked.buffer(),
            rows: batch.rows,
            positions: &batch.positions,
            slots: &batch.slots,
            rotary: DeviceRotary {
                cos: &rotation.tables.cos,
                sin: &rotation.tables.sin,
                rows: &rotation.rows,
                rotary_dim: shape.head_dim,
            },
            norms,
            cache: cache.layer(layer),
        };
        let key_mask = batch.key_mask.as_ref().map(|(seen, stride)| DeviceKeyMask { seen, stride: *stride });
        let width = shape.heads * shape.head_dim;
        let mixed = DeviceTensor::uninitialised(device, dtype, &[batch.rows, width])?;
        match cache.steps() {
            Some(scratch) if batch.one_row_each => {
                gpu::decode(device, mixed.buffer(), tokens, key_mask, scratch, shape, dtype)?;
            }
            _ => {
                let query = DeviceTensor::uninitialised(device, dtype, &[batch.rows, width])?;
                gpu::rotary_append(device, query.buffer(), tokens, shape, dtype)?;
                let (query, output, cache) = (query.buffer(), mixed.buffer(), cache.layer(layer));
                let (sequences, count) = (&batch.sequences, batch.count);
                gpu::prefill(
                    device, query, output, batch.rows, sequences, count, cache, key_mask, shape, dtype,
                )?;
            }
        }
        Ok(mixed)
    }

    /// Queries, keys and values `(tokens, heads * head_dim)` to what each token attends to.
    fn mix(
        &self,
        [mut query, mut key, value]: [Tensor; 3],
        batch: &Batch,
        rotation: &Rotation,
        cache: &mut LayerCache,
    ) -> Result<Tensor> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            query = q_norm.forward(&query.reshape(&[batch.rows(), heads, head_dim])?)?;
            key = k_norm.forward(&key.reshape(&[batch.rows(), kv_heads, head_dim])?)?;
        }
        let (mut query, mut key) = (query.to_vec()?, key.to_vec()?);
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
                // The mask is of all tokens so far, the cache may have dropped the first.
                key_mask: sequence.key_mask.as_ref().map(|mask| {
                    &mask[mask.len() - cache.keys[sequence.slot].len() / (kv_heads * head_dim)..]
                }),
            })
            .collect();
        let mut mixed = vec![0.0; query.len()]; // (tokens, heads * head_dim)
        attention(&query, &sequences, &mut mixed, self.shape);
        if let Some(window) = self.shape.window {
            cache.drop_unseen(batch, window, kv_heads * head_dim);
        }
        Tensor::from_vec(mixed, &[batch.rows(), heads * head_dim])
    }
}

/// The keys and values of all layers: what a call remembers of its tokens.
#[derive(Debug)]
pub struct KvCache {
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Host(Vec<LayerCache>),
    Device(PagedCache),
}

/// The keys and values of one layer, for each sequence `(tokens, kv_heads, head_dim)`: of its last tokens only where the
/// layer has a window.
#[derive(Clone, Debug)]
struct LayerCache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl KvCache {
    /// An empty cache on the processor for `slots` sequences. It grows with the tokens.
    pub fn new(layers: usize, slots: usize) -> KvCache {
        let layer = LayerCache { keys: vec![Vec::new(); slots], values: vec![Vec::new(); slots] };
        KvCache { storage: Storage::Host(vec![layer; layers]) }
    }

    /// An empty cache on a GPU for `slots` sequences of at most `tokens` tokens.
    ///
    /// # Errors
    /// It has no room.
    pub fn on_device(device: &Device, shape: CacheShape, slots: usize, tokens: usize) -> Result<KvCache> {
        Ok(KvCache { storage: Storage::Device(PagedCache::new(device, shape, slots, tokens)?) })
    }

    /// The cache on a GPU, `None` on the processor.
    pub fn paged(&mut self) -> Option<&mut PagedCache> {
        match &mut self.storage {
            Storage::Host(_) => None,
            Storage::Device(cache) => Some(cache),
        }
    }

    /// Makes room for the tokens of a batch, where room must be made before.
    ///
    /// # Errors
    /// The device has none.
    pub fn reserve(&mut self, batch: &Batch) -> Result<()> {
        let Storage::Device(cache) = &mut self.storage else { return Ok(()) };
        batch
            .sequences
            .iter()
            .try_for_each(|sequence| cache.reserve(sequence.slot, sequence.first + sequence.rows.len()))
    }

    /// Tokens that a sequence can have, where that is bounded.
    pub fn capacity(&self) -> usize {
        match &self.storage {
            Storage::Host(_) => 0,
            Storage::Device(cache) => cache.capacity(),
        }
    }

    /// Gives back the memory of a sequence that is finished.
    pub fn release(&mut self, slot: usize) {
        match &mut self.storage {
            Storage::Device(cache) => cache.release(slot),
            Storage::Host(layers) => {
                for layer in layers {
                    layer.keys[slot] = Vec::new();
                    layer.values[slot] = Vec::new();
                }
            }
        }
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        let length = |numbers: &[Vec<f32>]| numbers.iter().map(Vec::len).sum::<usize>();
        match &self.storage {
            Storage::Device(cache) => cache.size(),
            Storage::Host(layers) => {
                layers.iter().map(|layer| 4 * (length(&layer.keys) + length(&layer.values))).sum()
            }
        }
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

    /// Drops what no later token sees through a window of so many tokens. What is kept moves, so that it waits until
    /// there is an eighth of the window to drop.
    fn drop_unseen(&mut self, batch: &Batch, window: usize, width: usize) {
        for sequence in &batch.sequences {
            let unseen = (self.keys[sequence.slot].len() / width).saturating_sub(window - 1);
            if unseen > window / 8 {
                self.keys[sequence.slot].drain(..unseen * width);
                self.values[sequence.slot].drain(..unseen * width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline_schema::models::{RopeParameters, RopeScaling};

    use super::*;
    use crate::layers::RotaryEmbedding;

    #[test]
    fn a_window_bounds_the_cache() {
        let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 4, scale: 0.5, window: Some(16) };
        let weights = Weights::random(1, pipeline_schema::DType::F32);
        let attention = GroupedQueryAttention::load(&weights, 8, shape, AttentionParts::default()).unwrap();
        let rotary = RotaryEmbedding::new(4, &RopeParameters { theta: 1e4, scaling: RopeScaling::Unscaled });
        let mut cache = KvCache::new(1, 1);
        let mut sizes = Vec::new();
        let mut start = 0;
        for tokens in [100, 1, 1, 1, 1, 1, 30] {
            let mut batch = Batch::default();
            batch.push(0, start, tokens);
            start += tokens;
            let hidden = Tensor::from_vec(vec![0.5; tokens * 8], &[tokens, 8]).unwrap();
            let norm = RmsNorm::load(&weights, 8, 1e-5).unwrap();
            let rotation = BatchRotation::Host(rotary.at(&batch));
            attention.add_to(hidden, &norm, &batch, &rotation, &mut cache, 0).unwrap();
            sizes.push(cache.size() / (2 * 4 * 4));
        }
        // The window without the token to come, up to an eighth of it more.
        assert_eq!(sizes, [15, 16, 17, 15, 16, 17, 15]);
    }
}
