//! `text-generation` with a mixture of experts: the four stages.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::arch::generation::{
    FinishReason, LanguageModel, Prompt, RawGeneration, Record, Session, TextDelta, TokenSequences, Trace,
    Usage,
};
use crate::arch::moe::attribution::capacity_factor_needed;
use crate::arch::moe::{ExpertAttribution, Moe, MoeModel, MoeParameters, RoutingRecord};
use crate::checkpoint::CheckpointFiles;
use crate::error::Result;
use crate::gpu::{Buffer, Device, Fetched};
use crate::layers::{Batch, DeviceBatch, KvCache, LayerRouting, RoutingPolicy, RoutingStack};
use crate::models::mixtral::Mixtral;
use crate::stage::{Architecture, Call, LoadOptions, Stepwise};
use crate::task::{GeneratedText, TextGeneration};
use crate::tensor::Tensor;

type GenerationCall<'a> = Call<'a, Moe, TextGeneration>;

/// What was decided before the first token.
pub type GenerationPlan = crate::arch::generation::GenerationPlan<RoutingPolicy>;

/// A running generation.
pub type GenerationSession = Session<Mixtral, RoutingRecord>;

/// A generated text.
#[derive(Clone, Debug, Serialize)]
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
    /// Which experts each token visited.
    pub experts: ExpertAttribution,
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

impl Architecture<TextGeneration> for Moe {
    const NAME: &'static str = pipeline_schema::arch::MOE.name;

    type Parameters = MoeParameters;
    type Input = Prompt;
    type Prepared = TokenSequences;
    type Plan = GenerationPlan;
    type Raw = Vec<RawGeneration<RoutingRecord>>;
    type Output = Generation;
    type Model = MoeModel;
    type Parts = ();

    fn load(checkpoint: &CheckpointFiles, (): (), options: &LoadOptions) -> Result<MoeModel> {
        MoeModel::load(checkpoint, options)
    }

    fn parameters(model: &MoeModel) -> MoeParameters {
        model.parameters()
    }

    fn preprocess(call: &GenerationCall<'_>, inputs: Vec<Prompt>) -> Result<TokenSequences> {
        Ok(TokenSequences {
            sequences: inputs.iter().map(|prompt| call.model.encode(prompt)).collect::<Result<_>>()?,
            continues: inputs.iter().map(|prompt| matches!(prompt, Prompt::Text(_))).collect(),
        })
    }

    fn route(call: &GenerationCall<'_>, prepared: &TokenSequences) -> Result<GenerationPlan> {
        let Call { model, parameters, .. } = call;
        let routing = model.routing_policy(parameters)?;
        let context = model.network.config().context();
        parameters.plan(prepared, routing, context, &model.generation.eos_token_ids)
    }

    fn infer(
        call: &GenerationCall<'_>,
        prepared: TokenSequences,
        plan: GenerationPlan,
    ) -> Result<Vec<RawGeneration<RoutingRecord>>> {
        let mut session = Moe::begin(call, prepared, plan)?;
        while Moe::step(call, &mut session)?.is_some() {}
        Moe::finish(call, session)
    }

    fn format(call: &GenerationCall<'_>, raw: Vec<RawGeneration<RoutingRecord>>) -> Result<Vec<Generation>> {
        let tokenizer = &call.model.tokenizer;
        let generation = |raw: RawGeneration<RoutingRecord>| {
            Ok(Generation {
                text: raw.text(tokenizer)?,
                usage: raw.usage(),
                experts: ExpertAttribution::new(&raw.prompt, &raw.tokens, &raw.record, tokenizer),
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

impl Stepwise<TextGeneration> for Moe {
    type Session = GenerationSession;
    type Delta = TextDelta;

    fn begin(
        call: &GenerationCall<'_>,
        prepared: TokenSequences,
        plan: GenerationPlan,
    ) -> Result<GenerationSession> {
        let (network, config) = (&call.model.network, call.model.network.config());
        let record = || RoutingRecord::new(config.num_hidden_layers, config.num_local_experts);
        Session::begin(network, &call.model.tokenizer, prepared, plan, record)
    }

    fn step(call: &GenerationCall<'_>, session: &mut GenerationSession) -> Result<Option<TextDelta>> {
        session.step(&call.model.network)
    }

    fn finish(
        _: &GenerationCall<'_>,
        session: GenerationSession,
    ) -> Result<Vec<RawGeneration<RoutingRecord>>> {
        session.finish()
    }
}

impl LanguageModel for Mixtral {
    type Policy = RoutingPolicy;
    type Trace = RoutingStack;

    fn context(&self) -> usize {
        self.config().context()
    }

    fn vocabulary(&self) -> usize {
        self.config().vocab_size
    }

    fn device(&self) -> Option<&Device> {
        self.device()
    }

    fn is_replayable(&self, policy: &RoutingPolicy) -> bool {
        policy.capacity.is_none()
    }

    fn cache(&self, slots: usize, tokens: usize) -> Result<KvCache> {
        self.cache(slots, tokens)
    }

    fn embed(&self, batch: &mut Batch, tokens: &[u32]) -> Result<Tensor> {
        self.embed(batch, tokens)
    }

    fn embed_on(&self, batch: &DeviceBatch) -> Result<Tensor> {
        self.embed_on(batch)
    }

    fn pass(
        &self,
        embedded: Tensor,
        batch: &Batch,
        cache: &mut KvCache,
        policy: &RoutingPolicy,
    ) -> Result<(Tensor, RoutingStack)> {
        let forward = self.forward(embedded, batch, cache, policy, false)?;
        Ok((forward.last_hidden_state, forward.routing))
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.logits(hidden)
    }
}

/// The decisions of a pass on the processor.
#[derive(Debug)]
pub struct PassRouting {
    layers: Vec<LayerRouting>,
    /// The capacity factor that would have dropped nothing.
    capacity_factor_needed: f64,
}

impl PassRouting {
    fn new(layers: Vec<LayerRouting>) -> Result<PassRouting> {
        Ok(PassRouting { capacity_factor_needed: capacity_factor_needed(&layers)?, layers })
    }
}

impl Trace for RoutingStack {
    type OnHost = PassRouting;

    fn parts(&self) -> Vec<Buffer> {
        match self {
            RoutingStack::Host(_) => Vec::new(),
            RoutingStack::Device(stack) => stack.parts(),
        }
    }

    fn fetched(&self, bytes: &mut Fetched<'_>) -> Result<PassRouting> {
        match self {
            RoutingStack::Host(layers) => PassRouting::new(layers.clone()),
            RoutingStack::Device(stack) => PassRouting::new(stack.fetched(bytes)?),
        }
    }

    fn into_host(self) -> Result<PassRouting> {
        PassRouting::new(self.into_host()?)
    }
}

impl Record<RoutingStack> for RoutingRecord {
    fn extend(&mut self, trace: &PassRouting, rows: Range<usize>) -> Result<()> {
        self.extend(&trace.layers, rows, trace.capacity_factor_needed)
    }
}
