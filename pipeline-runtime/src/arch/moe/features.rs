//! `feature-extraction` with a mixture of experts: the four stages.

use serde::Serialize;

use crate::arch::moe::{Moe, MoeModel, MoeParameters, Prompt, TokenSequences};
use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::layers::{Batch, RoutingPolicy};
use crate::stage::{Architecture, Call, LoadOptions};
use crate::task::FeatureExtraction;
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

impl Architecture<FeatureExtraction> for Moe {
    const NAME: &'static str = pipeline_schema::arch::MOE.name;

    type Parameters = MoeParameters;
    type Input = Prompt;
    type Prepared = TokenSequences;
    type Plan = RoutingPolicy;
    type Raw = Vec<(Vec<u32>, Tensor)>;
    type Output = Features;
    type Model = MoeModel;
    type Parts = ();

    fn load(checkpoint: &CheckpointFiles, (): (), options: &LoadOptions) -> Result<MoeModel> {
        MoeModel::load(checkpoint, options)
    }

    fn parameters(model: &MoeModel) -> MoeParameters {
        model.parameters()
    }

    fn preprocess(call: &Call<'_, Moe, FeatureExtraction>, inputs: Vec<Prompt>) -> Result<TokenSequences> {
        Ok(TokenSequences {
            sequences: inputs.iter().map(|prompt| call.model.encode(prompt)).collect::<Result<_>>()?,
            continues: vec![false; inputs.len()],
        })
    }

    fn route(call: &Call<'_, Moe, FeatureExtraction>, _: &TokenSequences) -> Result<RoutingPolicy> {
        call.model.routing_policy(&call.parameters)
    }

    fn infer(
        call: &Call<'_, Moe, FeatureExtraction>,
        prepared: TokenSequences,
        plan: RoutingPolicy,
    ) -> Result<Vec<(Vec<u32>, Tensor)>> {
        let network = &call.model.network;
        let features = |tokens: Vec<u32>| {
            let mut batch = Batch::default();
            batch.push(0, 0, tokens.len());
            let embedded = network.embed(&tokens)?;
            let forward = network.forward(embedded, &batch, &mut network.cache(1), &plan, false)?;
            Ok((tokens, forward.last_hidden_state))
        };
        prepared.sequences.into_iter().map(features).collect()
    }

    fn format(_: &Call<'_, Moe, FeatureExtraction>, raw: Vec<(Vec<u32>, Tensor)>) -> Result<Vec<Features>> {
        let features = |(tokens, hidden): (Vec<u32>, Tensor)| {
            let (rows, width) = hidden.rows_and_width();
            if rows == 0 {
                return Err(Error::input("a text without tokens has no features"));
            }
            let numbers = hidden.as_slice()?;
            let mut embedding = vec![0.0; width];
            for row in numbers.chunks_exact(width) {
                for (sum, number) in embedding.iter_mut().zip(row) {
                    *sum += number / rows as f32;
                }
            }
            let last_hidden_state = numbers.chunks_exact(width).map(<[f32]>::to_vec).collect();
            Ok(Features { embedding, last_hidden_state, tokens })
        };
        raw.into_iter().map(features).collect()
    }
}
