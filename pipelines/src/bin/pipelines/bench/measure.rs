//! Turns of both sides, one after the other.

use std::time::Instant;

use pipelines::Result;
use pipelines::arch::generation::{GenerationPlan, LanguageModel, Record, Session, TokenSequences};
use pipelines::text::{SamplingParameters, Tokenizer};

use super::Arguments;
use super::peer::Peer;
use super::report::{Row, Steps, Work};
use super::roof::Roof;

/// Tokens before those that are measured: the prompts are read, kernels compiled, and the step recorded.
const WARM_TOKENS: usize = 4;

/// Tokens that are generated of each sequence whose decoding is measured.
pub(super) fn new_tokens(arguments: &Arguments) -> usize {
    arguments.tokens.saturating_add(1).saturating_mul(arguments.turns).saturating_add(WARM_TOKENS + 1)
}

/// Both sides.
pub(super) struct Bench<'a, M: LanguageModel, R> {
    pub(super) model: &'a M,
    pub(super) policy: M::Policy,
    /// One without tokens.
    pub(super) record: R,
    pub(super) tokenizer: Tokenizer,
    pub(super) arguments: &'a Arguments,
    pub(super) roof: &'a Roof,
    pub(super) peer: Option<Peer>,
}

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl<M, R> Bench<'_, M, R>
where
    M: LanguageModel<Policy: Clone>,
    R: Record<M::Trace> + Clone,
{
    /// Milliseconds a step of `batch` sequences, each until its tokens are on the host. One generation goes on from turn
    /// to turn: the prompts are read once.
    pub(super) fn decode(&mut self, batch: usize) -> Outcome<Row> {
        let Arguments { prompt, tokens, turns, .. } = *self.arguments;
        let question = format!("decode {tokens} {batch}");
        let mut row = Row::new(Work::Decode, batch);
        let before = self.loading_kernels();
        let mut session = self.begin(prompt, batch, new_tokens(self.arguments))?;
        for _ in 0..WARM_TOKENS {
            session.step(self.model)?;
        }
        row.kernels = self.kernels_since(before);
        self.ask(&question)?;
        let mut host = Vec::new();
        for _ in 0..turns {
            let roof = self.roof.gb_per_s()?;
            // A step that was under way while the other side had its turn, on a GPU.
            session.step(self.model)?;
            let mut times = Vec::with_capacity(tokens);
            for _ in 0..tokens {
                let waited = session.statistics().map(|statistics| statistics.waited);
                let start = Instant::now();
                session.step(self.model)?;
                let elapsed = start.elapsed();
                times.push(1e3 * elapsed.as_secs_f64());
                let waited = session.statistics().map(|statistics| statistics.waited).zip(waited);
                host.extend(waited.map(|(after, before)| 1e6 * (elapsed + before - after).as_secs_f64()));
            }
            row.roofs.push((roof + self.roof.gb_per_s()?) / 2.0);
            row.turns.push(times);
            row.peer.extend(self.ask(&question)?);
        }
        row.steps = session.statistics().map(|statistics| Steps { launches: statistics.launches, host });
        Ok(row)
    }

    /// Milliseconds from `batch` prompts of `tokens` tokens to their first tokens on the host.
    pub(super) fn prefill(&mut self, tokens: usize, batch: usize) -> Outcome<Row> {
        let question = format!("prefill {tokens} {batch}");
        let mut row = Row::new(Work::Prefill { tokens }, batch);
        let before = self.loading_kernels();
        for turn in 0..=self.arguments.turns {
            let mut session = self.begin(tokens, batch, 1)?;
            let start = Instant::now();
            session.step(self.model)?;
            let elapsed = 1e3 * start.elapsed().as_secs_f64();
            let peer = self.ask(&question)?;
            if turn == 0 {
                // The first turn warms up.
                row.kernels = self.kernels_since(before);
            } else {
                row.turns.push(vec![elapsed]);
                row.peer.extend(peer);
            }
        }
        Ok(row)
    }

    fn begin(&self, prompt: usize, batch: usize, new_tokens: usize) -> Result<Session<M, R>> {
        let vocabulary = self.model.vocabulary();
        // All prompts together visit the whole vocabulary, so that routing is spread over the experts; they differ, or
        // sequences would visit the same experts.
        let stride = if vocabulary.is_multiple_of(7919) { 1 } else { 7919 };
        let token = |index: usize| (index * stride % vocabulary) as u32;
        let sequences = (0..batch).map(|sequence| (sequence..sequence + prompt).map(token).collect());
        let prepared = TokenSequences { continues: vec![true; batch], sequences: sequences.collect() };
        let plan = GenerationPlan {
            routing: self.policy.clone(),
            sampling: SamplingParameters::greedy(),
            seed: 0,
            max_new_tokens: vec![new_tokens; batch],
            stop: Vec::new(),
            end_tokens: Vec::new(),
        };
        Session::begin(self.model, &self.tokenizer, prepared, plan, || self.record.clone())
    }

    /// The milliseconds of the other side, none where there is no other side.
    fn ask(&mut self, question: &str) -> Outcome<Vec<f64>> {
        self.peer.as_mut().map_or(Ok(Vec::new()), |peer| peer.ask(question))
    }

    /// Seconds for which kernels were compiled and loaded so far; `None` on the processor.
    fn loading_kernels(&self) -> Option<f64> {
        self.model.device().map(|device| device.loading_kernels().as_secs_f64())
    }

    fn kernels_since(&self, before: Option<f64>) -> Option<f64> {
        self.loading_kernels().zip(before).map(|(now, before)| now - before)
    }
}
