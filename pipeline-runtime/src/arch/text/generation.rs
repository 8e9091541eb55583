//! `text-generation` with a dense transformer: the four stages.

use std::fmt;

use serde::Serialize;

use crate::arch::generation::{
    FinishReason, LanguageModel, Prompt, RawGeneration, Session, TextDelta, TokenSequences, Usage,
};
use crate::arch::text::{Text, TextModel, TextParameters};
use crate::checkpoint::CheckpointFiles;
use crate::error::Result;
use crate::gpu::Device;
use crate::layers::{Batch, DeviceBatch, KvCache};
use crate::models::decoder::Decoder;
use crate::stage::{Architecture, Call, LoadOptions, Stepwise};
use crate::task::{GeneratedText, TextGeneration};
use crate::tensor::Tensor;

type GenerationCall<'a> = Call<'a, Text, TextGeneration>;

/// What was decided before the first token.
pub type GenerationPlan = crate::arch::generation::GenerationPlan<()>;

/// A running generation.
pub type GenerationSession = Session<Decoder, ()>;

/// A generated text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generation {
    /// The whole text: the prompt and its continuation, or the answer to a conversation.
    pub text: String,
    /// What was generated, without the prompt.
    pub completion: String,
    /// The generated tokens, an end token included.
    pub tokens: Vec<u32>,
    /// The log-probability of each generated token under the model's own distribution, in nats.
    pub log_probabilities: Vec<f32>,
    /// Why the generation ended.
    pub finish_reason: FinishReason,
    /// Tokens read and written.
    pub usage: Usage,
    /// The seed that reproduces the text.
    pub seed: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<Generation> for GeneratedText {
    fn from(generation: Generation) -> GeneratedText {
        GeneratedText { text: generation.text, completion: generation.completion }
    }
}

impl Architecture<TextGeneration> for Text {
    const NAME: &'static str = pipeline_schema::arch::TEXT.name;

    type Parameters = TextParameters;
    type Input = Prompt;
    type Prepared = TokenSequences;
    type Plan = GenerationPlan;
    type Raw = Vec<RawGeneration<()>>;
    type Output = Generation;
    type Model = TextModel;
    type Parts = ();

    fn load(checkpoint: &CheckpointFiles, (): (), options: &LoadOptions) -> Result<TextModel> {
        TextModel::load(checkpoint, options)
    }

    fn parameters(model: &TextModel) -> TextParameters {
        model.parameters()
    }

    fn preprocess(call: &GenerationCall<'_>, inputs: Vec<Prompt>) -> Result<TokenSequences> {
        Ok(TokenSequences {
            sequences: inputs.iter().map(|prompt| call.model.encode(prompt)).collect::<Result<_>>()?,
            continues: inputs.iter().map(|prompt| matches!(prompt, Prompt::Text(_))).collect(),
        })
    }

    fn route(call: &GenerationCall<'_>, prepared: &TokenSequences) -> Result<GenerationPlan> {
        let context = call.model.network.config().context();
        call.parameters.plan(prepared, (), context, &call.model.generation.eos_token_ids)
    }

    fn infer(
        call: &GenerationCall<'_>,
        prepared: TokenSequences,
        plan: GenerationPlan,
    ) -> Result<Vec<RawGeneration<()>>> {
        let mut session = Text::begin(call, prepared, plan)?;
        while Text::step(call, &mut session)?.is_some() {}
        Text::finish(call, session)
    }

    fn format(call: &GenerationCall<'_>, raw: Vec<RawGeneration<()>>) -> Result<Vec<Generation>> {
        let generation = |raw: RawGeneration<()>| {
            Ok(Generation {
                text: raw.text(&call.model.tokenizer)?,
                usage: raw.usage(),
                completion: raw.completion,
                tokens: raw.tokens,
                log_probabilities: raw.log_probabilities,
                finish_reason: raw.finish_reason,
                seed: raw.seed,
            })
        };
        raw.into_iter().map(generation).collect()
    }
}

impl Stepwise<TextGeneration> for Text {
    type Session = GenerationSession;
    type Delta = TextDelta;

    fn begin(
        call: &GenerationCall<'_>,
        prepared: TokenSequences,
        plan: GenerationPlan,
    ) -> Result<GenerationSession> {
        Session::begin(&call.model.network, &call.model.tokenizer, prepared, plan, || ())
    }

    fn step(call: &GenerationCall<'_>, session: &mut GenerationSession) -> Result<Option<TextDelta>> {
        session.step(&call.model.network)
    }

    fn finish(_: &GenerationCall<'_>, session: GenerationSession) -> Result<Vec<RawGeneration<()>>> {
        session.finish()
    }
}

impl LanguageModel for Decoder {
    type Policy = ();
    type Trace = ();

    fn context(&self) -> usize {
        self.config().context()
    }

    fn vocabulary(&self) -> usize {
        self.config().vocab_size
    }

    fn device(&self) -> Option<&Device> {
        self.ends().device()
    }

    fn is_replayable(&self, (): &()) -> bool {
        true
    }

    fn cache(&self, slots: usize, tokens: usize) -> Result<KvCache> {
        self.cache(slots, tokens)
    }

    fn embed(&self, batch: &mut Batch, tokens: &[u32]) -> Result<Tensor> {
        self.ends().embed(batch, tokens)
    }

    fn embed_on(&self, batch: &DeviceBatch) -> Result<Tensor> {
        self.ends().embed_on(batch)
    }

    fn pass(&self, embedded: Tensor, batch: &Batch, cache: &mut KvCache, (): &()) -> Result<(Tensor, ())> {
        Ok((self.forward(embedded, batch, cache, false)?.last_hidden_state, ()))
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.ends().logits(hidden)
    }
}
