//! Decoding steps on a GPU: recorded once and replayed, the next one under way while the host reads the last.
//!
//! Tokens, positions and random numbers are on the device, where the sampling of one step leaves them for the next. The
//! host makes room for keys and values, replays, and reads the chosen tokens one step behind.

use std::time::{Duration, Instant};

use crate::arch::generation::{LanguageModel, StepStatistics, Trace};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Device, Fetch, Graph};
use crate::kernels::sampling::gpu::{
    NO_TOKEN, Sampling, SamplingShape, mark_seen, parameters, sample, weighs,
};
use crate::layers::{Batch, DeviceBatch, KvCache};
use crate::tensor::{DeviceTensor, Tensor};
use crate::text::{Sampler, SamplingParameters};

/// A row whose slot is this takes no part in a step.
const LEFT: u32 = u32::MAX;

/// The sequences of a generation as they go on after their prompts.
pub(super) struct DeviceSteps<M: LanguageModel> {
    device: Device,
    sampling: SamplingParameters,
    vocabulary: usize,
    /// Places of sequences in the cache.
    slots: usize,
    /// The tokens that each sequence has seen; `None` where no penalty asks for them.
    seen: Option<Buffer>,
    rows: Vec<Row>,
    state: State,
    recorded: Option<Recorded<M::Trace>>,
    /// Two, so that one is read while the next is written.
    fetches: [Fetch; 2],
    /// What the step that is under way, or the one after it, told.
    traces: [Option<Told<M::Trace>>; 2],
    launched: usize,
    delivered: usize,
    waited: Duration,
}

/// A step that was recorded, with what it tells.
struct Recorded<T> {
    graph: Graph,
    trace: T,
}

/// Where the trace of a step is.
enum Told<T> {
    /// In buffers of its own.
    Own(T),
    /// In those of the recorded step.
    Recorded,
}

/// One sequence.
struct Row {
    /// Its place among the sequences, and in the cache.
    index: usize,
    /// Tokens that the model has read, or will have read with the steps launched so far.
    read: usize,
    /// A random number for each token that it may get.
    random: Vec<u64>,
    /// Whether it goes on.
    active: bool,
}

/// What is on the device for the rows of a step.
struct State {
    batch: Batch,
    shape: SamplingShape,
    parameters: Buffer,
    random: Buffer,
    steps: Buffer,
    chosen: Buffer,
    log_probabilities: Buffer,
    scratch: Buffer,
    /// Steps since these rows were put together.
    launched: usize,
}

/// A sequence when its prompt is read.
pub(super) struct Start<'a> {
    /// Its place among the sequences, and in the cache.
    pub(super) index: usize,
    /// Its prompt.
    pub(super) tokens: &'a [u32],
    /// Where its random numbers come from.
    pub(super) sampler: &'a mut Sampler,
    /// Tokens that it may get.
    pub(super) limit: usize,
}

/// What a step gave.
pub(super) struct Step<T> {
    /// For each row the sequence, its token and its log-probability.
    pub(super) tokens: Vec<(usize, u32, f32)>,
    /// What the pass told of the rows; of the first step that was told when the prompts were read.
    pub(super) trace: Option<T>,
}

impl<M: LanguageModel> DeviceSteps<M> {
    /// Chooses the first token of every sequence from the logits `(sequences, vocabulary)` behind its prompt.
    ///
    /// # Errors
    /// The device has no room, or refuses.
    pub(super) fn begin(
        device: &Device,
        slots: usize,
        starts: Vec<Start<'_>>,
        logits: &Tensor,
        sampling: &SamplingParameters,
    ) -> Result<DeviceSteps<M>> {
        let (_, vocabulary) = logits.rows_and_width();
        let words = vocabulary.div_ceil(32);
        let seen = match sampling.repetition_penalty == 1.0 {
            true => None,
            false => Some(device.zeros(slots * words * size_of::<u32>())?),
        };
        let last: Vec<u32> = starts.iter().map(|start| start.tokens.last().copied().unwrap_or(0)).collect();
        let rows: Vec<Row> = starts
            .into_iter()
            .map(|start| {
                let row = Row {
                    index: start.index,
                    // The last token of the prompt is read; choosing the next moves on to it.
                    read: start.tokens.len() - 1,
                    random: start.sampler.random_numbers().take(start.limit.max(1)).collect(),
                    active: true,
                };
                (row, start.tokens)
            })
            .map(|(row, tokens)| match &seen {
                None => Ok(row),
                Some(seen) => {
                    let shape = SamplingShape { rows: 1, vocabulary, slots, capacity: 1 };
                    let places = device.upload(&vec![row.index as u32; tokens.len()])?;
                    mark_seen(device, &device.upload(tokens)?, &places, seen, tokens.len(), shape)?;
                    Ok(row)
                }
            })
            .collect::<Result<_>>()?;
        let state = State::new(device, &rows, &last, 0, sampling, vocabulary, slots)?;
        let fetch = || Fetch::new(device, 1 << 12);
        let mut steps = DeviceSteps {
            device: device.clone(),
            sampling: *sampling,
            vocabulary,
            slots,
            seen,
            rows,
            state,
            recorded: None,
            fetches: [fetch()?, fetch()?],
            traces: [None, None],
            launched: 0,
            delivered: 0,
            waited: Duration::ZERO,
        };
        steps.state.sample(device, &logits.clone().into_device()?, steps.seen.as_ref(), sampling)?;
        steps.advance();
        steps.fetch(None)?;
        Ok(steps)
    }

    /// The tokens that [`begin`](Self::begin) chose.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn first(&mut self) -> Result<Step<<M::Trace as Trace>::OnHost>> {
        self.deliver()
    }

    /// The tokens of the next step, while the one after it is launched.
    ///
    /// # Errors
    /// The device failed, or has no room.
    pub(super) fn next(
        &mut self,
        model: &M,
        cache: &mut KvCache,
        policy: &M::Policy,
    ) -> Result<Step<<M::Trace as Trace>::OnHost>> {
        let active = self.rows.iter().filter(|row| row.active).count();
        let few = 2 * active <= self.rows.len();
        if self.launched == self.delivered {
            if few {
                self.compact()?;
            }
            self.launch(model, cache, policy)?;
        }
        // Where sequences that ended take half of the rows, the others go on alone after this step.
        if !few && self.rows.iter().any(|row| row.active && self.launched < row.random.len()) {
            self.launch(model, cache, policy)?;
        }
        self.deliver()
    }

    /// A sequence has ended. A step that is under way may still work on it.
    ///
    /// # Errors
    /// The device refuses.
    pub(super) fn leave(&mut self, index: usize) -> Result<()> {
        let Some(row) = self.rows.iter().position(|row| row.index == index && row.active) else {
            return Ok(());
        };
        self.rows[row].active = false;
        let slots = &self.state.on_device().slots;
        self.device.write(slots, row * size_of::<u32>(), &[LEFT])
    }

    fn launch(&mut self, model: &M, cache: &mut KvCache, policy: &M::Policy) -> Result<()> {
        let pages =
            cache.paged().ok_or_else(|| Error::input("the cache is not on the device of the model"))?;
        for row in self.rows.iter().filter(|row| row.active) {
            pages.reserve(row.index, (row.read + 1).min(pages.capacity()))?;
        }
        let told = match &self.recorded {
            Some(recorded) => {
                recorded.graph.launch()?;
                Told::Recorded
            }
            None => {
                let (device, state, seen) = (&self.device, &self.state, self.seen.as_ref());
                let sampling = &self.sampling;
                let mut step = || {
                    let embedded = model.embed_on(state.on_device())?;
                    let (hidden, trace) = model.pass(embedded, &state.batch, cache, policy)?;
                    let logits = model.logits(&hidden)?.into_device()?;
                    state.sample(device, &logits, seen, sampling)?;
                    Ok(trace)
                };
                if model.is_replayable(policy) {
                    let (first, trace, graph) = Graph::record(device, step)?;
                    self.recorded = Some(Recorded { graph, trace });
                    Told::Own(first)
                } else {
                    Told::Own(step()?)
                }
            }
        };
        self.advance();
        self.fetch(Some(told))
    }

    /// Moves the host's positions on, as choosing tokens does those on the device.
    fn advance(&mut self) {
        let Batch { sequences, positions, .. } = &mut self.state.batch;
        for ((row, sequence), position) in self.rows.iter_mut().zip(sequences).zip(positions) {
            row.read += 1;
            (sequence.first, sequence.length) = (row.read, row.read + 1);
            *position = row.read as u32;
        }
    }

    /// Begins to fetch what the step that was just launched gave.
    fn fetch(&mut self, told: Option<Told<M::Trace>>) -> Result<()> {
        let rows = self.rows.len();
        let step = self.state.launched % self.state.shape.capacity;
        self.state.launched += 1;
        let of_step = |ring: &Buffer| ring.slice(step * rows * 4, rows * 4);
        let mut parts = vec![of_step(&self.state.chosen), of_step(&self.state.log_probabilities)];
        parts.extend(match (&told, &self.recorded) {
            (Some(Told::Own(trace)), _) => trace.parts(),
            (Some(Told::Recorded), Some(recorded)) => recorded.trace.parts(),
            _ => Vec::new(),
        });
        let place = self.launched % 2;
        let bytes = parts.iter().map(Buffer::bytes).sum();
        let fetch = &mut self.fetches[place];
        if fetch.room() < bytes {
            *fetch = Fetch::new(&self.device, bytes)?;
        }
        fetch.start(&parts)?;
        self.traces[place] = told;
        self.launched += 1;
        Ok(())
    }

    /// Waits for the oldest step that was not delivered yet.
    fn deliver(&mut self) -> Result<Step<<M::Trace as Trace>::OnHost>> {
        let (rows, place) = (self.rows.len(), self.delivered % 2);
        self.delivered += 1;
        let start = Instant::now();
        let mut fetched = self.fetches[place].wait()?;
        self.waited += start.elapsed();
        let tokens: Vec<u32> = fetched.take(rows);
        let log_probabilities: Vec<f32> = fetched.take(rows);
        let trace = match (&self.traces[place], &self.recorded) {
            (Some(Told::Own(trace)), _) => Some(trace.fetched(&mut fetched)?),
            (Some(Told::Recorded), Some(recorded)) => Some(recorded.trace.fetched(&mut fetched)?),
            _ => None,
        };
        let active = self.rows.iter().zip(&tokens);
        if active.into_iter().any(|(row, token)| row.active && *token == NO_TOKEN) {
            return Err(Error::input("the model's logits are no numbers: there is no likeliest token"));
        }
        let tokens = self.rows.iter().zip(tokens).zip(log_probabilities);
        let tokens = tokens.filter(|((row, _), _)| row.active);
        Ok(Step { tokens: tokens.map(|((row, token), log)| (row.index, token, log)).collect(), trace })
    }

    /// Goes on with the sequences that have not ended. Nothing is under way.
    fn compact(&mut self) -> Result<()> {
        if self.rows.iter().all(|row| row.active) {
            return Ok(());
        }
        let on_device = self.state.on_device();
        let tokens: Vec<u32> = self.device.read(&on_device.tokens, 0, self.rows.len())?;
        let (mut kept, mut last) = (Vec::new(), Vec::new());
        for (row, token) in
            std::mem::take(&mut self.rows).into_iter().zip(tokens).filter(|(row, _)| row.active)
        {
            kept.push(row);
            last.push(token);
        }
        self.rows = kept;
        self.recorded = None;
        let (launched, sampling) = (self.launched, self.sampling);
        self.state =
            State::new(&self.device, &self.rows, &last, launched, &sampling, self.vocabulary, self.slots)?;
        Ok(())
    }

    /// The rows of a step: the place of each sequence.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|row| row.index)
    }

    /// How steps run.
    pub(super) fn statistics(&self) -> StepStatistics {
        let launches = self.recorded.as_ref().map(|recorded| recorded.graph.nodes());
        StepStatistics { launches, waited: self.waited }
    }
}

impl State {
    /// Rows that have had `done` tokens, the last of which is `last`.
    fn new(
        device: &Device,
        rows: &[Row],
        last: &[u32],
        done: usize,
        sampling: &SamplingParameters,
        vocabulary: usize,
        slots: usize,
    ) -> Result<State> {
        let mut batch = Batch::default();
        for row in rows {
            batch.push(row.index, row.read, 1);
        }
        batch.to_device(device, last)?;
        let capacity = rows.iter().map(|row| row.random.len().saturating_sub(done)).max().unwrap_or(0).max(1);
        let numbers =
            |step: usize| rows.iter().map(move |row| row.random.get(done + step).copied().unwrap_or(0));
        let random: Vec<u64> = (0..capacity).flat_map(numbers).collect();
        let shape = SamplingShape { rows: rows.len(), vocabulary, slots, capacity };
        let words: Vec<u64> = (0..rows.len()).flat_map(|_| parameters(sampling, vocabulary)).collect();
        Ok(State {
            batch,
            shape,
            parameters: device.upload(&words)?,
            random: device.upload(&random)?,
            steps: device.zeros(rows.len() * 4)?,
            chosen: device.zeros(capacity * rows.len() * 4)?,
            log_probabilities: device.zeros(capacity * rows.len() * 4)?,
            scratch: device.allocate(shape.scratch_bytes(device))?,
            launched: 0,
        })
    }

    fn on_device(&self) -> &DeviceBatch {
        self.batch.device.as_ref().expect("the batch was taken to the device")
    }

    /// Chooses the next tokens and leaves them where the next step reads them.
    fn sample(
        &self,
        device: &Device,
        logits: &DeviceTensor,
        seen: Option<&Buffer>,
        sampling: &SamplingParameters,
    ) -> Result<()> {
        let batch = self.on_device();
        let choice = Sampling {
            logits: logits.buffer(),
            parameters: &self.parameters,
            seen,
            sequence_slots: &batch.slots,
            random: &self.random,
            steps: &self.steps,
            tokens: &batch.tokens,
            positions: &batch.positions,
            chosen: &self.chosen,
            log_probabilities: &self.log_probabilities,
            scratch: &self.scratch,
            weigh: weighs(sampling, self.shape.vocabulary),
        };
        sample(device, &choice, self.shape)
    }
}
