//! `feature-extraction` with a dense transformer: the four stages.

use crate::arch::features::{Features, RawFeatures};
use crate::arch::text::{Prompt, Text, TextModel, TextParameters, TokenSequences};
use crate::checkpoint::CheckpointFiles;
use crate::error::Result;
use crate::stage::{Architecture, Call, LoadOptions};
use crate::task::FeatureExtraction;

type FeaturesCall<'a> = Call<'a, Text, FeatureExtraction>;

impl Architecture<FeatureExtraction> for Text {
    const NAME: &'static str = pipeline_schema::arch::TEXT.name;

    type Parameters = TextParameters;
    type Input = Prompt;
    type Prepared = TokenSequences;
    type Plan = ();
    type Raw = Vec<RawFeatures>;
    type Output = Features;
    type Model = TextModel;
    type Parts = ();

    fn load(checkpoint: &CheckpointFiles, (): (), options: &LoadOptions) -> Result<TextModel> {
        TextModel::load(checkpoint, options)
    }

    fn parameters(model: &TextModel) -> TextParameters {
        model.parameters()
    }

    fn preprocess(call: &FeaturesCall<'_>, inputs: Vec<Prompt>) -> Result<TokenSequences> {
        Ok(TokenSequences {
            sequences: inputs.iter().map(|prompt| call.model.encode(prompt)).collect::<Result<_>>()?,
            continues: vec![false; inputs.len()],
        })
    }

    fn route(_: &FeaturesCall<'_>, _: &TokenSequences) -> Result<()> {
        Ok(())
    }

    fn infer(call: &FeaturesCall<'_>, prepared: TokenSequences, (): ()) -> Result<Vec<RawFeatures>> {
        let read = |tokens| RawFeatures::read(&call.model.network, tokens, &());
        prepared.sequences.into_iter().map(read).collect()
    }

    fn format(_: &FeaturesCall<'_>, raw: Vec<RawFeatures>) -> Result<Vec<Features>> {
        raw.into_iter().map(RawFeatures::features).collect()
    }
}
