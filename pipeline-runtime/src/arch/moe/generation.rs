//! `text-generation` with a mixture of experts: the four stages and the decoding loop.

use std::fmt;

use serde::Serialize;

use crate::arch::moe::attribution::capacity_factor_needed;
use crate::arch::moe::{ExpertAttribution, Moe, MoeModel, MoeParameters, Prompt, RoutingRecord};
use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::layers::{Batch, KvCache, RoutingPolicy};
use crate::stage::{Architecture, Call, LoadOptions, Stepwise};
use crate::task::{GeneratedText, TextGeneration};
use crate::tensor::Tensor;
use crate::text::{Detokenizer, Sampler, SamplingParameters, StopStrings};

type GenerationCall<'a> = Call<'a, Moe, TextGeneration>;

/// Tokens that go through all layers together while a prompt is read: more would only cost memory.
const PREFILL_ROWS: usize = 512;

/// Prompts as tokens.
#[derive(Clone, Debug)]
pub struct TokenSequences {
    /// For each input its tokens, special tokens included.
    pub sequences: Vec<Vec<u32>>,
    /// For each input whether its text is continued; a conversation is answered instead.
    pub continues: Vec<bool>,
}

/// What was decided before the first token.
#[derive(Clone, Debug)]
pub struct GenerationPlan {
    /// How tokens are distributed over experts.
    pub routing: RoutingPolicy,
    /// How the next token is chosen.
    pub sampling: SamplingParameters,
    /// The seed of the first sequence; the next one has the next seed.
    pub seed: u64,
    /// For each sequence, how many tokens there is room and leave for.
    pub max_new_tokens: Vec<usize>,
    /// Texts that end a sequence.
    pub stop: Vec<String>,
    /// Tokens that end a sequence.
    pub end_tokens: Vec<u32>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it.
    EndOfSequence,
    /// A stop text came.
    StopString,
    /// `max_new_tokens` or the model's context was reached.
    Length,
    /// The stream was stopped before.
    Cancelled,
}

/// What the model gave for one input.
#[derive(Clone, Debug)]
pub struct RawGeneration {
    /// The tokens of the input.
    pub prompt: Vec<u32>,
    /// The generated tokens, an end token included.
    pub tokens: Vec<u32>,
    /// The log-probability of each generated token under the model's own distribution.
    pub log_probabilities: Vec<f32>,
    /// The generated text, up to a stop text.
    pub completion: String,
    /// Whether the text of the input belongs before it.
    pub continues: bool,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The seed it was drawn with.
    pub seed: u64,
    /// The router's decisions.
    pub routing: RoutingRecord,
}

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

/// Tokens read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Generated tokens.
    pub completion_tokens: usize,
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

/// What one step adds to a streamed text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextDelta {
    /// Text that became certain: it may be empty, and never ends within a character.
    pub text: String,
    /// The token of this step.
    pub token: u32,
    /// Why the generation ended, in its last step.
    pub finish_reason: Option<FinishReason>,
}

impl Architecture<TextGeneration> for Moe {
    const NAME: &'static str = pipeline_schema::arch::MOE.name;

    type Parameters = MoeParameters;
    type Input = Prompt;
    type Prepared = TokenSequences;
    type Plan = GenerationPlan;
    type Raw = Vec<RawGeneration>;
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
        // A stop text that cannot be is refused before the model runs.
        StopStrings::new(&parameters.stop)?;
        let context = model.network.config().max_position_embeddings;
        let room =
            |tokens: &Vec<u32>| (context + 1).saturating_sub(tokens.len()).min(parameters.max_new_tokens);
        Ok(GenerationPlan {
            routing: model.routing_policy(parameters)?,
            sampling: SamplingParameters {
                temperature: parameters.temperature,
                top_k: parameters.top_k,
                top_p: parameters.top_p,
                min_p: parameters.min_p,
                repetition_penalty: parameters.repetition_penalty,
                do_sample: parameters.do_sample,
            },
            seed: parameters.seed.unwrap_or_else(rand::random),
            max_new_tokens: prepared.sequences.iter().map(room).collect(),
            stop: parameters.stop.clone(),
            end_tokens: model.generation.eos_token_ids.clone(),
        })
    }

    fn infer(
        call: &GenerationCall<'_>,
        prepared: TokenSequences,
        plan: GenerationPlan,
    ) -> Result<Vec<RawGeneration>> {
        let mut session = Moe::begin(call, prepared, plan)?;
        while Moe::step(call, &mut session)?.is_some() {}
        Moe::finish(call, session)
    }

    fn format(call: &GenerationCall<'_>, raw: Vec<RawGeneration>) -> Result<Vec<Generation>> {
        let tokenizer = &call.model.tokenizer;
        let generation = |raw: RawGeneration| {
            let text = match raw.continues {
                true => tokenizer.decode(&raw.prompt, true)? + &raw.completion,
                false => raw.completion.clone(),
            };
            Ok(Generation {
                text,
                usage: Usage { prompt_tokens: raw.prompt.len(), completion_tokens: raw.tokens.len() },
                experts: ExpertAttribution::new(&raw.prompt, &raw.tokens, &raw.routing, tokenizer),
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

/// A running generation: the caches, the random generators and the texts so far.
pub struct GenerationSession {
    plan: GenerationPlan,
    cache: KvCache,
    sequences: Vec<RunningSequence>,
}

struct RunningSequence {
    prompt: Vec<u32>,
    /// Prompt and generated tokens.
    tokens: Vec<u32>,
    log_probabilities: Vec<f32>,
    /// Tokens that the model has read.
    read: usize,
    completion: String,
    continues: bool,
    finish_reason: Option<FinishReason>,
    sampler: Sampler,
    seed: u64,
    detokenizer: Detokenizer,
    stop: StopStrings,
    routing: RoutingRecord,
}

impl Stepwise<TextGeneration> for Moe {
    type Session = GenerationSession;
    type Delta = TextDelta;

    fn begin(
        call: &GenerationCall<'_>,
        prepared: TokenSequences,
        plan: GenerationPlan,
    ) -> Result<GenerationSession> {
        let network = &call.model.network;
        let config = network.config();
        check(&prepared, &plan, config.max_position_embeddings)?;
        let mut sequences = Vec::with_capacity(prepared.sequences.len());
        for (index, (prompt, continues)) in prepared.sequences.into_iter().zip(prepared.continues).enumerate()
        {
            let seed = plan.seed.wrapping_add(index as u64);
            sequences.push(RunningSequence {
                tokens: prompt.clone(),
                log_probabilities: Vec::new(),
                read: 0,
                completion: String::new(),
                continues,
                finish_reason: (plan.max_new_tokens[index] == 0).then_some(FinishReason::Length),
                sampler: Sampler::new(plan.sampling, seed)?,
                seed,
                detokenizer: match continues {
                    true => Detokenizer::continuing(&call.model.tokenizer, true),
                    false => Detokenizer::new(&call.model.tokenizer, true),
                },
                stop: StopStrings::new(&plan.stop)?,
                routing: RoutingRecord::new(config.num_hidden_layers, config.num_local_experts),
                prompt,
            });
        }
        Ok(GenerationSession { cache: network.cache(sequences.len()), plan, sequences })
    }

    fn step(call: &GenerationCall<'_>, session: &mut GenerationSession) -> Result<Option<TextDelta>> {
        let running: Vec<usize> = (0..session.sequences.len())
            .filter(|&index| session.sequences[index].finish_reason.is_none())
            .collect();
        if running.is_empty() {
            return Ok(None);
        }
        let logits = session.read(call.model, &running)?; // (running, vocab_size)
        let (_, vocabulary) = logits.rows_and_width();
        let logits = logits.as_slice()?;
        let mut first = None;
        for (&index, logits) in running.iter().zip(logits.chunks_exact(vocabulary)) {
            let delta = session.append(index, logits)?;
            first.get_or_insert(delta);
        }
        Ok(first)
    }

    fn finish(_: &GenerationCall<'_>, session: GenerationSession) -> Result<Vec<RawGeneration>> {
        let raw = |mut sequence: RunningSequence| {
            if sequence.finish_reason.is_none() {
                sequence.flush()?;
            }
            Ok(RawGeneration {
                tokens: sequence.tokens.split_off(sequence.prompt.len()),
                prompt: sequence.prompt,
                log_probabilities: sequence.log_probabilities,
                completion: sequence.completion,
                continues: sequence.continues,
                finish_reason: sequence.finish_reason.unwrap_or(FinishReason::Cancelled),
                seed: sequence.seed,
                routing: sequence.routing,
            })
        };
        session.sequences.into_iter().map(raw).collect()
    }
}

/// Stages of a user's own may have made what comes here.
fn check(prepared: &TokenSequences, plan: &GenerationPlan, context: usize) -> Result<()> {
    let count = prepared.sequences.len();
    let lengths = [("continues", prepared.continues.len()), ("max_new_tokens", plan.max_new_tokens.len())];
    if let Some((field, length)) = lengths.iter().find(|(_, length)| *length != count) {
        return Err(Error::input(format!("`{field}` has {length} entries for {count} sequences")));
    }
    match prepared.sequences.iter().map(Vec::len).find(|length| *length == 0 || *length > context) {
        None => Ok(()),
        Some(length) => {
            Err(Error::input(format!("a sequence has {length} tokens, expected from 1 to {context}")))
        }
    }
}

impl GenerationSession {
    /// Reads every token that the model has not read yet, and gives the logits after the last of each sequence,
    /// `(running, vocab_size)`.
    fn read(&mut self, model: &MoeModel, running: &[usize]) -> Result<Tensor> {
        let mut last_hidden = Vec::with_capacity(running.len());
        let mut waiting = running.iter().copied().peekable();
        while waiting.peek().is_some() {
            let mut batch = Batch::default();
            let mut tokens = Vec::new();
            let mut complete = Vec::new();
            while let Some(&index) = waiting.peek()
                && batch.rows() < PREFILL_ROWS
            {
                let sequence = &self.sequences[index];
                let unread = sequence.tokens.len() - sequence.read;
                let rows = unread.min(PREFILL_ROWS - batch.rows());
                batch.push(index, sequence.read, rows);
                tokens.extend_from_slice(&sequence.tokens[sequence.read..][..rows]);
                if rows == unread {
                    complete.push(batch.rows() - 1);
                    waiting.next();
                } else {
                    break;
                }
            }
            let embedded = model.network.embed(&tokens)?;
            let forward =
                model.network.forward(embedded, &batch, &mut self.cache, &self.plan.routing, false)?;
            let needed = capacity_factor_needed(&forward.routing)?;
            for part in &batch.sequences {
                let sequence = &mut self.sequences[part.slot];
                sequence.read += part.rows.len();
                sequence.routing.extend(&forward.routing, part.rows.clone(), needed)?;
            }
            if !complete.is_empty() {
                last_hidden.push(forward.last_hidden_state.select_rows(&complete)?);
            }
        }
        model.network.logits(&Tensor::concatenate_rows(&last_hidden)?)
    }

    /// Chooses the next token of a sequence and says what it adds.
    fn append(&mut self, index: usize, logits: &[f32]) -> Result<TextDelta> {
        let sequence = &mut self.sequences[index];
        let sampled = sequence.sampler.sample(logits, &sequence.tokens)?;
        let token = sampled.token;
        sequence.tokens.push(token);
        sequence.log_probabilities.push(sampled.log_probability);

        let before = sequence.completion.len();
        if self.plan.end_tokens.contains(&token) {
            sequence.flush()?;
            sequence.finish_reason.get_or_insert(FinishReason::EndOfSequence);
        } else {
            let text = sequence.detokenizer.push(token)?;
            let outcome = sequence.stop.push(&text);
            sequence.completion.push_str(&outcome.text);
            if outcome.matched.is_some() {
                sequence.finish_reason = Some(FinishReason::StopString);
            } else if sequence.tokens.len() - sequence.prompt.len() >= self.plan.max_new_tokens[index] {
                sequence.flush()?;
                sequence.finish_reason.get_or_insert(FinishReason::Length);
            }
        }
        if sequence.finish_reason.is_some() {
            self.cache.release(index);
        }
        let text = sequence.completion[before..].to_owned();
        Ok(TextDelta { text, token, finish_reason: sequence.finish_reason })
    }
}

impl RunningSequence {
    /// Adds the text that was held back: an unfinished character, or what might have become a stop text.
    fn flush(&mut self) -> Result<()> {
        let rest = self.detokenizer.finish()?;
        let outcome = self.stop.push(&rest);
        self.completion.push_str(&outcome.text);
        match outcome.matched {
            Some(_) => self.finish_reason = Some(FinishReason::StopString),
            None => self.completion.push_str(&self.stop.finish()),
        }
        Ok(())
    }
}
