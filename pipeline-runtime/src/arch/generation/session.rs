//! A running generation: the caches, the random generators and the texts so far.

use crate::arch::generation::steps::{DeviceSteps, Start};
use crate::arch::generation::{
    FinishReason, GenerationPlan, LanguageModel, RawGeneration, Record, StepStatistics, TextDelta,
    TokenSequences, Trace,
};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Device, Fetch};
use crate::layers::{Batch, KvCache, Sequence};
use crate::tensor::Tensor;
use crate::text::{Detokenizer, Sampler, StopStrings, Tokenizer};

/// Tokens that go through all layers together while a prompt is read: more would only cost memory.
const PREFILL_ROWS: usize = 512;

/// The same on a GPU, which is busy only with more.
const DEVICE_PREFILL_ROWS: usize = 8192;

/// A running generation for several sequences. `R` is what is kept of the model's passes.
pub struct Session<M: LanguageModel, R> {
    plan: GenerationPlan<M::Policy>,
    cache: KvCache,
    sequences: Vec<RunningSequence<R>>,
    /// What the last pass over the prompts told, which nothing waits for before the first tokens are chosen.
    told: Option<Told<M::Trace>>,
    /// Steps on a GPU, once the prompts are read.
    steps: Option<DeviceSteps<M>>,
}

/// What a pass told of the rows of sequences, on its way to the host where it is on a GPU.
struct Told<T> {
    trace: T,
    fetch: Option<Fetch>,
    sequences: Vec<Sequence>,
}

struct RunningSequence<R> {
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
    record: R,
}

impl<M: LanguageModel, R: Record<M::Trace>> Session<M, R> {
    /// Starts a generation; `record` makes what is kept of each sequence.
    ///
    /// # Errors
    /// A prompt or the plan does not fit the model, or a device has no room.
    pub fn begin(
        model: &M,
        tokenizer: &Tokenizer,
        prepared: TokenSequences,
        plan: GenerationPlan<M::Policy>,
        record: impl Fn() -> R,
    ) -> Result<Session<M, R>> {
        check(&prepared, &plan, model.context())?;
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
                    true => Detokenizer::continuing(tokenizer, true),
                    false => Detokenizer::new(tokenizer, true),
                },
                stop: StopStrings::new(&plan.stop)?,
                record: record(),
                prompt,
            });
        }
        let lengths = sequences.iter().zip(&plan.max_new_tokens);
        let longest = lengths.map(|(sequence, new)| sequence.prompt.len().saturating_add(*new)).max();
        let cache = model.cache(sequences.len(), longest.unwrap_or(0))?;
        Ok(Session { cache, plan, sequences, told: None, steps: None })
    }

    /// One token for every sequence that is not finished; `None` when all are. The delta is that of the first of them.
    ///
    /// # Errors
    /// The model or the device fails, or the logits are no numbers.
    pub fn step(&mut self, model: &M) -> Result<Option<TextDelta>> {
        let running: Vec<usize> = (0..self.sequences.len())
            .filter(|&index| self.sequences[index].finish_reason.is_none())
            .collect();
        if running.is_empty() {
            return Ok(None);
        }
        let mut first = None;
        if model.device().is_some() {
            for (index, token, log_probability) in self.step_on_device(model, &running)? {
                let delta = self.append(index, token, log_probability)?;
                first.get_or_insert(delta);
            }
        } else {
            let logits = self.read(model, &running)?; // (running, vocab_size)
            let (_, vocabulary) = logits.rows_and_width();
            let logits = logits.as_slice()?;
            for (&index, logits) in running.iter().zip(logits.chunks_exact(vocabulary)) {
                let sequence = &mut self.sequences[index];
                let sampled = sequence.sampler.sample(logits, &sequence.tokens)?;
                let delta = self.append(index, sampled.token, sampled.log_probability)?;
                first.get_or_insert(delta);
            }
        }
        Ok(first)
    }

    /// How the steps run; `None` on the processor, and before the prompts are read.
    pub fn statistics(&self) -> Option<StepStatistics> {
        self.steps.as_ref().map(DeviceSteps::statistics)
    }

    /// What the model gave so far.
    ///
    /// # Errors
    /// A text that was held back cannot be decoded.
    pub fn finish(mut self) -> Result<Vec<RawGeneration<R>>> {
        self.settle()?;
        let raw = |mut sequence: RunningSequence<R>| {
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
                record: sequence.record,
            })
        };
        self.sequences.into_iter().map(raw).collect()
    }

    /// Reads every token that the model has not read yet, and gives the logits after the last of each sequence,
    /// `(running, vocab_size)`.
    fn read(&mut self, model: &M, running: &[usize]) -> Result<Tensor> {
        let most_rows = if model.device().is_some() { DEVICE_PREFILL_ROWS } else { PREFILL_ROWS };
        let mut last_hidden = Vec::with_capacity(running.len());
        let mut waiting = running.iter().copied().peekable();
        while waiting.peek().is_some() {
            let mut batch = Batch::default();
            let mut tokens = Vec::new();
            let mut complete = Vec::new();
            while let Some(&index) = waiting.peek()
                && batch.rows() < most_rows
            {
                let sequence = &self.sequences[index];
                let unread = sequence.tokens.len() - sequence.read;
                let rows = unread.min(most_rows - batch.rows());
                batch.push(index, sequence.read, rows);
                batch.sequences.last_mut().expect("it was just pushed").length = sequence.tokens.len();
                tokens.extend_from_slice(&sequence.tokens[sequence.read..][..rows]);
                if rows == unread {
                    complete.push(batch.rows() - 1);
                    waiting.next();
                } else {
                    break;
                }
            }
            let embedded = model.embed(&mut batch, &tokens)?;
            let (hidden, trace) = model.pass(embedded, &batch, &mut self.cache, &self.plan.routing)?;
            if !complete.is_empty() {
                last_hidden.push(hidden.select_rows(&complete)?);
            }
            for part in &batch.sequences {
                self.sequences[part.slot].read += part.rows.len();
            }
            let told = Told::begin(trace, batch.sequences, model.device())?;
            // What the pass before told is kept while a GPU works on this one.
            self.settle()?;
            self.told = Some(told);
        }
        model.logits(&Tensor::concatenate_rows(&last_hidden)?)
    }

    /// Keeps what the last pass over the prompts told.
    fn settle(&mut self) -> Result<()> {
        let Some(Told { trace, fetch, sequences }) = self.told.take() else { return Ok(()) };
        let trace = match fetch {
            Some(mut fetch) => trace.fetched(&mut fetch.wait()?)?,
            None => trace.into_host()?,
        };
        for part in sequences {
            self.sequences[part.slot].record.extend(&trace, part.rows)?;
        }
        Ok(())
    }

    /// The next token of every running sequence with its log-probability: prompts are read, then steps are replayed.
    fn step_on_device(&mut self, model: &M, running: &[usize]) -> Result<Vec<(usize, u32, f32)>> {
        let device = model.device().expect("asked before").clone();
        let _turn = device.turn();
        let Some(steps) = &mut self.steps else {
            let logits = self.read(model, running)?;
            let slots = self.sequences.len();
            let starts = self
                .sequences
                .iter_mut()
                .enumerate()
                .filter(|(_, sequence)| sequence.finish_reason.is_none());
            let starts = starts.map(|(index, sequence)| Start {
                index,
                tokens: &sequence.prompt,
                sampler: &mut sequence.sampler,
                limit: self.plan.max_new_tokens[index],
            });
            let steps = DeviceSteps::begin(&device, slots, starts.collect(), &logits, &self.plan.sampling)?;
            return Ok(self.steps.insert(steps).first()?.tokens);
        };
        let step = steps.next(model, &mut self.cache, &self.plan.routing)?;
        let rows: Vec<usize> = steps.indices().collect();
        self.settle()?;
        for (row, index) in rows.into_iter().enumerate() {
            let sequence = &mut self.sequences[index];
            // What was begun before a sequence was known to have ended tells nothing of it.
            if let (None, Some(trace)) = (sequence.finish_reason, &step.trace) {
                sequence.read += 1;
                sequence.record.extend(trace, row..row + 1)?;
            }
        }
        Ok(step.tokens)
    }

    /// Adds a token to a sequence and says what it adds to its text.
    fn append(&mut self, index: usize, token: u32, log_probability: f32) -> Result<TextDelta> {
        let sequence = &mut self.sequences[index];
        sequence.tokens.push(token);
        sequence.log_probabilities.push(log_probability);

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
            if let Some(steps) = &mut self.steps {
                steps.leave(index)?;
            }
            // A step that is under way may still write there; whoever gets the memory comes after it.
            self.cache.release(index);
        }
        let text = sequence.completion[before..].to_owned();
        Ok(TextDelta { text, token, finish_reason: sequence.finish_reason })
    }
}

impl<T: Trace> Told<T> {
    /// Begins to fetch what a pass told.
    fn begin(trace: T, sequences: Vec<Sequence>, device: Option<&Device>) -> Result<Told<T>> {
        let parts = trace.parts();
        let fetch = match device {
            Some(device) if !parts.is_empty() => {
                let mut fetch = Fetch::new(device, parts.iter().map(Buffer::bytes).sum())?;
                fetch.start(&parts)?;
                Some(fetch)
            }
            _ => None,
        };
        Ok(Told { trace, fetch, sequences })
    }
}

impl<R> RunningSequence<R> {
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

/// Stages of a user's own may have made what comes here.
fn check<P>(prepared: &TokenSequences, plan: &GenerationPlan<P>, context: usize) -> Result<()> {
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
