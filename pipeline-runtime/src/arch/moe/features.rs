//! `feature-extraction` with a mixture of experts: the four stages.

use crate::arch::features::{Features, RawFeatures};
use crate::arch::moe::{Moe, MoeModel, MoeParameters, Prompt, TokenSequences};
use crate::checkpoint::CheckpointFiles;
use crate::error::Result;
use crate::layers::RoutingPolicy;
use crate::stage::{Architecture, Call, LoadOptions};
use crate::task::FeatureExtraction;

type FeaturesCall<'a> = Call<'a, Moe, FeatureExtraction>;

impl Architecture<FeatureExtraction> for Moe {
    const NAME: &'static str = pipeline_schema::arch::MOE.name;

    type Parameters = MoeParameters;
    type Input = Prompt;
    type Prepared = TokenSequences;
    type Plan = RoutingPolicy;
    type Raw = Vec<RawFeatures>;
    type Output = Features;
    type Model = MoeModel;
    type Parts = ();

    fn load(checkpoint: &CheckpointFiles, (): (), options: &LoadOptions) -> Result<MoeModel> {
        MoeModel::load(checkpoint, options)
    }

    fn parameters(model: &MoeModel) -> MoeParameters {
        model.parameters()
    }

    fn preprocess(call: &FeaturesCall<'_>, inputs: Vec<Prompt>) -> Result<TokenSequences> {
        Ok(TokenSequences {
            sequences: inputs.iter().map(|prompt| call.model.encode(prompt)).collect::<Result<_>>()?,
            continues: vec![false; inputs.len()],
        })
    }

    fn route(call: &FeaturesCall<'_>, _: &TokenSequences) -> Result<RoutingPolicy> {
        call.model.routing_policy(&call.parameters)
    }

    fn infer(
        call: &FeaturesCall<'_>,
        prepared: TokenSequences,
        plan: RoutingPolicy,
    ) -> Result<Vec<RawFeatures>> {
        let read = |tokens| RawFeatures::read(&call.model.network, tokens, &plan);
        prepared.sequences.into_iter().map(read).collect()
    }

    fn format(_: &FeaturesCall<'_>, raw: Vec<RawFeatures>) -> Result<Vec<Features>> {
        raw.into_iter().map(RawFeatures::features).collect()
    }
}
