//! Texts as numbers: what all architectures with hidden states share.

use serde::Serialize;

use crate::arch::generation::LanguageModel;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::layers::Batch;
use crate::tensor::Tensor;

/// A text as numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Features {
    /// The mean of the tokens' hidden states, `(hidden_size)`.
    pub embedding: Vec<f32>,
    /// The hidden state of every token after the last norm, `(tokens, hidden_size)`.
    pub last_hidden_state: Vec<Vec<f32>>,
    /// The tokens.
    pub tokens: Vec<u32>,
}

/// What a model gives of a text.
#[derive(Clone, Debug)]
pub struct RawFeatures {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Their hidden states after the last norm, `(tokens, hidden_size)`, in memory of the host.
    pub last_hidden_state: Tensor,
}

impl RawFeatures {
    /// Reads a text, given as tokens.
    ///
    /// # Errors
    /// A token is outside the vocabulary, or a device has no room.
    pub fn read<M: LanguageModel>(model: &M, tokens: Vec<u32>, policy: &M::Policy) -> Result<RawFeatures> {
        // Another call's step may be recorded at this moment: what is enqueued meanwhile would become part of it.
        let _turn = model.device().map(Device::turn);
        let mut batch = Batch::default();
        batch.push(0, 0, tokens.len());
        let mut cache = model.cache(1, tokens.len())?;
        let embedded = model.embed(&mut batch, &tokens)?;
        let (last_hidden_state, _) = model.pass(embedded, &batch, &mut cache, policy)?;
        Ok(RawFeatures { tokens, last_hidden_state: last_hidden_state.to_host()? })
    }

    /// The features, with the mean of the hidden states.
    ///
    /// # Errors
    /// There are no tokens.
    pub fn features(self) -> Result<Features> {
        let RawFeatures { tokens, last_hidden_state } = self;
        let (rows, width) = last_hidden_state.rows_and_width();
        if rows == 0 {
            return Err(Error::input("a text without tokens has no features"));
        }
        let numbers = last_hidden_state.as_slice()?;
        let mut embedding = vec![0.0; width];
        for row in numbers.chunks_exact(width) {
            for (sum, number) in embedding.iter_mut().zip(row) {
                *sum += number / rows as f32;
            }
        }
        let last_hidden_state = numbers.chunks_exact(width).map(<[f32]>::to_vec).collect();
        Ok(Features { embedding, last_hidden_state, tokens })
    }
}

impl Features {
    /// How alike two texts are: the cosine of the angle between their embeddings, from -1 to 1.
    pub fn cosine_similarity(&self, other: &Features) -> f32 {
        let dot = |left: &[f32], right: &[f32]| {
            left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum::<f64>()
        };
        let norms = dot(&self.embedding, &self.embedding) * dot(&other.embedding, &other.embedding);
        if norms == 0.0 { 0.0 } else { (dot(&self.embedding, &other.embedding) / norms.sqrt()) as f32 }
    }
}

impl From<Features> for Vec<f32> {
    fn from(features: Features) -> Vec<f32> {
        features.embedding
    }
}

impl std::fmt::Display for Features {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: Vec<String> = self.embedding.iter().take(8).map(|number| format!("{number:.4}")).collect();
        let more = if self.embedding.len() > 8 { ", ..." } else { "" };
        write!(formatter, "[{}{more}] ({} features)", shown.join(", "), self.embedding.len())
    }
}
