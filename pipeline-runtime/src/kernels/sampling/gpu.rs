//! Sampling on a GPU: what [`Sampler`] does, with the same bits.

use crate::error::Result;
use crate::gpu::testing::random;
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::expect;
use crate::text::sampling::{as_written, weight_bits};
use crate::text::{Sampler, SamplingParameters};

/// The kernels.
pub static SOURCE: Source = Source { name: "sampling", parts: &[PRELUDE, include_str!("gpu.cu")] };

/// Tokens that share one maximum.
const GROUP: usize = 128;
/// Groups that a warp scans.
const SCAN_GROUPS: usize = 4;
/// Threads that scan and that choose.
const SCAN_THREADS: usize = 256;
const CHOOSE_THREADS: usize = 1024;

/// What a row gets where its logits are no numbers: no token at all.
pub const NO_TOKEN: u32 = u32::MAX;

/// The parameters of one row as the kernels read them: 32 bytes.
pub fn parameters(parameters: &SamplingParameters, vocabulary: usize) -> [u64; 4] {
    let SamplingParameters { temperature, top_k, top_p, min_p, repetition_penalty, do_sample } = *parameters;
    let temperature = if do_sample { temperature } else { 0.0 };
    let bits = weight_bits(vocabulary);
    let top_k = u32::try_from(top_k).unwrap_or(u32::MAX);
    let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    [
        pair(temperature.to_bits(), repetition_penalty.to_bits()),
        pair(top_k, bits),
        (1.0 - as_written(top_p)).max(0.0).to_bits(),
        (as_written(min_p) * (1u64 << bits) as f64).ceil() as u64,
    ]
}

/// Whether rows with these parameters go faster with [`Sampling::weigh`].
pub fn weighs(parameters: &SamplingParameters, vocabulary: usize) -> bool {
    let SamplingParameters { temperature, top_k, do_sample, .. } = *parameters;
    do_sample && temperature != 0.0 && (top_k == 0 || top_k >= vocabulary)
}

/// The sizes of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingShape {
    /// Sequences.
    pub rows: usize,
    /// Logits of each.
    pub vocabulary: usize,
    /// Places of sequences in `seen`.
    pub slots: usize,
    /// Steps that the rings hold.
    pub capacity: usize,
}

impl SamplingShape {
    /// Words of `u32` that mark the tokens that one sequence has seen.
    pub fn seen_words(&self) -> usize {
        self.vocabulary.div_ceil(32)
    }

    /// Bytes that [`sample`] needs for intermediate results.
    pub fn scratch_bytes(&self, device: &Device) -> usize {
        let groups = self.vocabulary.div_ceil(GROUP);
        self.rows * (groups * (8 + 4) + self.parts(device) * 8)
    }

    /// Blocks that scan a row.
    fn parts(&self, device: &Device) -> usize {
        self.vocabulary.div_ceil(SCAN_THREADS / device.chip().warp as usize * SCAN_GROUPS * GROUP)
    }
}

/// Where a choice reads and writes. All numbers are `u32` where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub struct Sampling<'a> {
    /// (rows, vocabulary) `f32`.
    pub logits: &'a Buffer,
    /// (rows, 4) `u64` of [`parameters`].
    pub parameters: &'a Buffer,
    /// (slots, [`seen_words`](SamplingShape::seen_words)): a bit for each token of the sequence; none where no row has
    /// a repetition penalty.
    pub seen: Option<&'a Buffer>,
    /// (rows): the slot of each sequence; a row whose slot is not below the number of slots is passed over.
    pub sequence_slots: &'a Buffer,
    /// (capacity, rows) `u64`: a random number for each step, [`Sampler::random_numbers`] of the sequence.
    pub random: &'a Buffer,
    /// (rows): the steps done so far, counted here.
    pub steps: &'a Buffer,
    /// (rows): the chosen token, or [`NO_TOKEN`], for the next step to read.
    pub tokens: &'a Buffer,
    /// (rows): grows by one.
    pub positions: &'a Buffer,
    /// (capacity, rows): the chosen tokens, around a ring.
    pub chosen: &'a Buffer,
    /// (capacity, rows) `f32`: their log-probabilities under the model's own distribution.
    pub log_probabilities: &'a Buffer,
    /// [`scratch_bytes`](SamplingShape::scratch_bytes).
    pub scratch: &'a Buffer,
    /// Sums weights in a launch of its own, as rows without `top_k` like it ([`weighs`]).
    pub weigh: bool,
}

/// Chooses the next token of every row, as [`Sampler::sample`] does, and enters it where the next step reads it.
///
/// Where the host's sampler refuses logits, the token is [`NO_TOKEN`] and its log-probability NaN.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernels do not compile, or the driver refuses.
pub fn sample(device: &Device, sampling: &Sampling<'_>, shape: SamplingShape) -> Result<()> {
    let SamplingShape { rows, vocabulary, slots, capacity } = shape;
    assert!(vocabulary > 0 && capacity > 0, "sampling: {shape:?} has tokens and room for steps");
    let words = shape.seen_words();
    expect(sampling.logits, "logits", &[rows, vocabulary], 4);
    expect(sampling.parameters, "parameters", &[rows, 4], 8);
    if let Some(seen) = sampling.seen {
        expect(seen, "seen", &[slots, words], 4);
    }
    for (what, buffer) in [
        ("sequence_slots", sampling.sequence_slots),
        ("steps", sampling.steps),
        ("tokens", sampling.tokens),
        ("positions", sampling.positions),
    ] {
        expect(buffer, what, &[rows], 4);
    }
    expect(sampling.random, "random", &[capacity, rows], 8);
    expect(sampling.chosen, "chosen", &[capacity, rows], 4);
    expect(sampling.log_probabilities, "log_probabilities", &[capacity, rows], 4);
    expect(sampling.scratch, "scratch", &[shape.scratch_bytes(device)], 1);

    let (groups, parts) = (vocabulary.div_ceil(GROUP), shape.parts(device));
    let weights = sampling.scratch.address();
    let maxima = weights + (rows * groups * 8) as u64;
    let partial = maxima + (rows * groups * 4) as u64;
    let seen = sampling.seen.map_or(0, Buffer::address);

    let launch = |kernel| {
        Launch::new(device, &SOURCE, kernel)
            .grid(parts, rows, 1)
            .threads(SCAN_THREADS)
            .buffer(sampling.logits)
            .buffer(sampling.parameters)
            .address(seen)
            .buffer(sampling.sequence_slots)
            .address(maxima)
    };
    let scan = launch("sampling_scan").address(partial).number(vocabulary).number(words).number(slots);
    // SAFETY: every buffer holds its shape, scratch as laid out above, and the kernels check the slots.
    unsafe { scan.run()? };
    if sampling.weigh {
        let weigh = launch("sampling_weigh").address(weights).number(vocabulary).number(words).number(slots);
        // SAFETY: as above.
        unsafe { weigh.run()? };
    }
    let choose = Launch::new(device, &SOURCE, "sampling_choose").grid(rows, 1, 1).threads(CHOOSE_THREADS);
    let choose = choose.buffer(sampling.logits).buffer(sampling.parameters).address(seen);
    let choose = choose.buffer(sampling.sequence_slots).address(maxima).address(partial);
    let choose = choose.address(if sampling.weigh { weights } else { 0 }).buffer(sampling.random);
    let choose = choose.buffer(sampling.steps).buffer(sampling.tokens).buffer(sampling.positions);
    let choose = choose.buffer(sampling.chosen).buffer(sampling.log_probabilities);
    let choose = choose.number(vocabulary).number(words).number(parts).number(capacity).number(rows);
    // SAFETY: as above; the two before have filled what this one reads.
    unsafe { choose.number(slots).run() }
}

/// Marks tokens of prompts as seen. tokens, sequence_slots: (count) `u32`; seen as in [`Sampling`].
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn mark_seen(
    device: &Device,
    tokens: &Buffer,
    sequence_slots: &Buffer,
    seen: &Buffer,
    count: usize,
    shape: SamplingShape,
) -> Result<()> {
    let words = shape.seen_words();
    expect(tokens, "tokens", &[count], 4);
    expect(sequence_slots, "sequence_slots", &[count], 4);
    expect(seen, "seen", &[shape.slots, words], 4);
    let launch = Launch::new(device, &SOURCE, "sampling_mark").grid(count.div_ceil(256), 1, 1);
    let launch = launch.buffer(tokens).buffer(sequence_slots).buffer(seen).number(count);
    // SAFETY: every buffer holds its shape, and the kernel checks tokens and slots.
    unsafe { launch.number(shape.vocabulary).number(words).number(shape.slots).run() }
}

/// The kernels beside the host's sampler.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for vocabulary in [1, 5, 129, 1000, 32_000, 151_936] {
        for (round, spread) in [8.0f32, 0.01, 3.0, 1.0].into_iter().enumerate() {
            checks.extend(check(device, vocabulary, spread, round)?);
        }
    }
    Ok(checks)
}

/// How fast they are, with the errors of what was measured.
///
/// # Errors
/// As [`checks`].
pub fn speeds(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for rows in [1, 16] {
        for (case, parameters) in
            [("greedy", SamplingParameters::greedy()), ("top_k 50, top_p 0.9", SamplingParameters::default())]
        {
            checks.push(speed(device, rows, case, parameters)?);
        }
    }
    Ok(checks)
}

/// Several ways to choose on logits of one spread, three steps each.
fn check(device: &Device, vocabulary: usize, spread: f32, round: usize) -> Result<Vec<Check>> {
    let off = SamplingParameters {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        do_sample: true,
    };
    let ways = [
        SamplingParameters::greedy(),
        SamplingParameters { repetition_penalty: 1.3, ..SamplingParameters::greedy() },
        SamplingParameters::default(),
        SamplingParameters { repetition_penalty: 0.8, min_p: 0.05, ..SamplingParameters::default() },
        off,
        SamplingParameters { temperature: 0.7, top_p: 0.9, ..off },
        SamplingParameters { top_p: 0.5, min_p: 0.01, ..off },
        SamplingParameters { min_p: 0.2, ..off },
        SamplingParameters { top_k: 3000, top_p: 0.99, ..off },
        SamplingParameters { top_k: 1, ..off },
        SamplingParameters { top_p: 0.0, ..off },
        SamplingParameters { temperature: 1e-38, ..off },
    ];
    let (rows, steps) = (ways.len(), 3);
    let shape = SamplingShape { rows, vocabulary, slots: rows + 1, capacity: 2 };
    let mut logits = random(steps * rows * vocabulary, 7 + round as u64);
    for logit in &mut logits {
        *logit *= spread;
        if round == 2 {
            // Many equals.
            *logit = logit.round();
        }
    }
    if vocabulary > 2 {
        for row in logits.chunks_exact_mut(vocabulary) {
            row[vocabulary / 2] = f32::NEG_INFINITY;
        }
    }
    let sequence_slots: Vec<u32> = (0..rows as u32).rev().collect();
    let prompts: Vec<Vec<u32>> = (0..rows)
        .map(|row| (0..40).map(|index| ((row + 1) * (index * 7 + 1) % vocabulary) as u32).collect())
        .collect();
    let mut samplers = Vec::new();
    for (row, way) in ways.iter().enumerate() {
        samplers.push(Sampler::new(*way, row as u64)?);
    }

    let seen = device.zeros(shape.slots * shape.seen_words() * 4)?;
    let prompt_slots: Vec<u32> = sequence_slots.iter().flat_map(|&slot| [slot; 40]).collect();
    let prompt_tokens = device.upload(&prompts.concat())?;
    mark_seen(device, &prompt_tokens, &device.upload(&prompt_slots)?, &seen, rows * 40, shape)?;
    let words: Vec<[u64; 4]> = ways.iter().map(|way| parameters(way, vocabulary)).collect();
    let words = device.upload(words.as_flattened())?;
    let mut numbers = vec![0; shape.capacity * rows];
    let random = device.upload(&numbers)?;
    let [steps_done, tokens, positions] = [(); 3].map(|()| device.zeros(rows * 4));
    let (steps_done, tokens, positions) = (steps_done?, tokens?, positions?);
    let chosen = device.zeros(shape.capacity * rows * 4)?;
    let log_probabilities = device.zeros(shape.capacity * rows * 4)?;
    let scratch = device.allocate(shape.scratch_bytes(device))?;
    device.fill(&scratch, 0xff)?;
    let slots = device.upload(&sequence_slots)?;

    let (mut found, mut found_logarithms, mut expected, mut expected_logarithms) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut histories = prompts;
    for (step, logits) in logits.chunks_exact(rows * vocabulary).enumerate() {
        for (row, sampler) in samplers.iter().enumerate() {
            // The host's sampler takes the same number itself.
            let number = sampler.clone().random_numbers().next().unwrap_or_default();
            numbers[step % shape.capacity * rows + row] = number;
        }
        device.write(&random, 0, &numbers)?;
        let logits_there = device.upload(logits)?;
        let sampling = Sampling {
            logits: &logits_there,
            parameters: &words,
            seen: Some(&seen),
            sequence_slots: &slots,
            random: &random,
            steps: &steps_done,
            tokens: &tokens,
            positions: &positions,
            chosen: &chosen,
            log_probabilities: &log_probabilities,
            scratch: &scratch,
            weigh: step != 1,
        };
        sample(device, &sampling, shape)?;
        let offset = step % shape.capacity * rows * 4;
        let ring: Vec<u32> = device.read(&chosen, offset, rows)?;
        assert_eq!(ring, device.read::<u32>(&tokens, 0, rows)?, "sampling: the ring has the tokens");
        found.extend(ring.iter().map(|&token| token as f32));
        found_logarithms.extend(device.read::<f32>(&log_probabilities, offset, rows)?);
        for (row, logits) in logits.chunks_exact(vocabulary).enumerate() {
            let sampled = samplers[row].sample(logits, &histories[row])?;
            histories[row].push(sampled.token);
            expected.push(sampled.token as f32);
            expected_logarithms.push(sampled.log_probability);
        }
    }
    for counter in [&positions, &steps_done] {
        assert_eq!(
            device.read::<u32>(counter, 0, rows)?,
            vec![steps as u32; rows],
            "sampling: steps are counted"
        );
    }
    let case = format!("{vocabulary} tokens, spread {spread}");
    Ok(vec![
        Check::compare("sampling", &*case, &found, &expected, 0.0),
        Check::compare("sampling (log-probabilities)", case, &found_logarithms, &expected_logarithms, 3e-6),
    ])
}

/// A choice from 128,256 tokens.
fn speed(device: &Device, rows: usize, case: &str, way: SamplingParameters) -> Result<Check> {
    let vocabulary = 128_256;
    let shape = SamplingShape { rows, vocabulary, slots: rows, capacity: 1 };
    let mut values = random(rows * vocabulary, 3);
    for value in &mut values {
        // Few tokens are likely, as in a language model.
        *value = *value * value.abs().powi(20) * 20.0;
    }
    let logits = device.upload(&values)?;
    let words = device.upload([parameters(&way, vocabulary)].repeat(rows).as_flattened())?;
    let slots = device.upload(&(0..rows as u32).collect::<Vec<_>>())?;
    let mut samplers = Vec::new();
    for row in 0..rows {
        samplers.push(Sampler::new(way, row as u64)?);
    }
    let numbers: Vec<u64> =
        samplers.iter().map(|sampler| sampler.clone().random_numbers().next().unwrap_or_default()).collect();
    let random = device.upload(&numbers)?;
    let state = device.zeros(rows * 4 * 5)?;
    let part = |index: usize| state.slice(index * rows * 4, rows * 4);
    let (steps, tokens, positions, chosen, log_probabilities) = (part(0), part(1), part(2), part(3), part(4));
    let scratch = device.allocate(shape.scratch_bytes(device))?;
    let sampling = Sampling {
        logits: &logits,
        parameters: &words,
        seen: None,
        sequence_slots: &slots,
        random: &random,
        steps: &steps,
        tokens: &tokens,
        positions: &positions,
        chosen: &chosen,
        log_probabilities: &log_probabilities,
        scratch: &scratch,
        weigh: false,
    };
    let microseconds = time(device, 5, 50, || sample(device, &sampling, shape))?;
    let found: Vec<f32> = device.read::<u32>(&chosen, 0, rows)?.iter().map(|&token| token as f32).collect();
    let mut expected = Vec::new();
    for (sampler, logits) in samplers.iter_mut().zip(values.chunks_exact(vocabulary)) {
        expected.push(sampler.sample(logits, &[])?.token as f32);
    }
    let check = Check::compare("sampling", format!("{rows}x{vocabulary}, {case}"), &found, &expected, 0.0);
    Ok(check.timed(microseconds, Work::Bytes((rows * vocabulary * 4) as f64)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_choose_as_the_host_does() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
