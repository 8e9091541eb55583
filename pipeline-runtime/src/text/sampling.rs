//! Chooses the next token from logits, as the logits processors of `transformers` do.

use std::cmp::Ordering;

use pipeline_schema::arch::MOE;
use pipeline_schema::{ParameterKind, Value};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::{Error, Result};

/// How the next token is chosen.
///
/// The steps and their order are those of `transformers` 5.17 (`GenerationMixin._get_logits_processor`): repetition
/// penalty, then, where tokens are drawn, temperature, top-k, top-p and min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParameters {
    /// Divides the logits: above 1 flattens the distribution, below 1 sharpens it. 0 to 100; 0 is greedy.
    pub temperature: f32,
    /// Draws from this many likeliest tokens, and those exactly as likely as the last of them; 0 is off.
    pub top_k: usize,
    /// Draws from the likeliest tokens whose probabilities sum to at least this. 0 to 1; 1 is off.
    pub top_p: f32,
    /// Drops tokens less likely than this share of the likeliest token's probability. 0 to 1; 0 is off.
    pub min_p: f32,
    /// Divides the positive logits of tokens seen before and multiplies the negative ones, also where tokens are not
    /// drawn. 0.01 to 100; above 1 discourages repetition, 1 is off.
    pub repetition_penalty: f32,
    /// Draws the token; `false` takes the likeliest.
    pub do_sample: bool,
}

impl Default for SamplingParameters {
    /// The defaults of the parameters' table.
    fn default() -> SamplingParameters {
        SamplingParameters {
            temperature: 0.7,
            top_k: 50,
            top_p: 0.9,
            min_p: 0.0,
            repetition_penalty: 1.0,
            do_sample: true,
        }
    }
}

impl SamplingParameters {
    /// The likeliest token, always.
    pub fn greedy() -> SamplingParameters {
        SamplingParameters { do_sample: false, ..SamplingParameters::default() }
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    /// Names the first parameter that is out of its range, and the range.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("min_p", self.min_p),
            ("repetition_penalty", self.repetition_penalty),
        ] {
            let specification = MOE.parameter(name).expect("the schema has every sampling parameter");
            debug_assert!(matches!(specification.kind, ParameterKind::Float { .. }));
            let value = Value::Float(as_written(value));
            specification.kind.check(name, &value).map_err(Error::Parameter)?;
        }
        Ok(())
    }
}

/// The number of 64 bits that has the shortest decimal form of `value`: 0.9, where a plain conversion of the
/// 32 bits closest to 0.9 gives 0.8999999761581421. `transformers` computes with the former.
pub(crate) fn as_written(value: f32) -> f64 {
    value.to_string().parse().expect("a printed number reads back")
}

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability under the model's own distribution: the softmax of the logits as they
    /// came, before penalty, temperature and truncation.
    pub log_probability: f32,
}

/// Chooses tokens, one sequence's generation with one seed.
///
/// The same logits, parameters and seed choose the same tokens on every platform: random numbers come from ChaCha8,
/// the exponential is computed by basic arithmetic alone, and weights are summed as whole numbers, in which no order of
/// summation matters.
///
/// ```
/// use pipeline_runtime::text::{Sampler, SamplingParameters};
///
/// let mut sampler = Sampler::new(SamplingParameters::greedy(), 0)?;
/// let sampled = sampler.sample(&[0.0, 2.0, 1.0], &[])?;
/// assert_eq!(sampled.token, 1);
/// assert!((sampled.log_probability - -0.4076).abs() < 1e-4);
/// # Ok::<(), pipeline_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    parameters: SamplingParameters,
    top_p: f64,
    min_p: f64,
    random: ChaCha8Rng,
    // Buffers that are kept from step to step.
    scores: Vec<f32>,
    largest: Vec<f32>,
    candidates: Vec<Candidate>,
    undecided: Vec<Candidate>,
}

/// A token that may be drawn.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    score: f32,
    /// The probability relative to the likeliest token's, in units that make all weights sum to less than 2^63.
    weight: u64,
}

impl Candidate {
    /// From the least likely up. Of equally likely tokens the lower counts as likelier, as in greedy choice; in
    /// `transformers` their order is whatever the sort leaves.
    fn order(&self, other: &Candidate) -> Ordering {
        let by_score = self.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal);
        by_score.then(other.token.cmp(&self.token))
    }
}

impl Sampler {
    /// A sampler whose draws are determined by `seed`.
    ///
    /// # Errors
    /// A parameter out of its range.
    pub fn new(parameters: SamplingParameters, seed: u64) -> Result<Sampler> {
        parameters.check()?;
        // The key is the seed itself, not the generator crate's own expansion of it, so that a new version of that
        // crate cannot change what a seed means.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Ok(Sampler {
            parameters,
            top_p: as_written(parameters.top_p),
            min_p: as_written(parameters.min_p),
            random: ChaCha8Rng::from_seed(key),
            scores: Vec::new(),
            largest: Vec::new(),
            candidates: Vec::new(),
            undecided: Vec::new(),
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> &SamplingParameters {
        &self.parameters
    }

    /// The random numbers that the next calls of [`sample`](Self::sample) would take, which they then do not: for a
    /// device that does what they do.
    pub fn random_numbers(&mut self) -> impl Iterator<Item = u64> {
        std::iter::repeat_with(|| self.random.next_u64())
    }

    /// Chooses a token.
    ///
    /// `logits` is one number for each token of the vocabulary; `seen` lists the tokens of the sequence so far, prompt
    /// included, in any order and with repetitions, for the repetition penalty.
    ///
    /// Greedy choice takes the lowest of equally likely tokens. Drawing takes one random number for each call, whatever
    /// the logits are.
    ///
    /// # Errors
    /// No logits, a logit that is NaN or +infinity, logits that are all -infinity, a seen token beyond the vocabulary.
    pub fn sample(&mut self, logits: &[f32], seen: &[u32]) -> Result<Sampled> {
        let highest = highest_logit(logits)?;
        let token = self.choose(logits, highest, seen)?;
        let normalizer = f64::from(highest) + sum_of_exponentials(logits, highest).ln();
        let log_probability = (f64::from(logits[token as usize]) - normalizer) as f32;
        Ok(Sampled { token, log_probability })
    }

    fn choose(&mut self, logits: &[f32], highest: f32, seen: &[u32]) -> Result<u32> {
        let SamplingParameters { temperature, top_k, repetition_penalty, do_sample, .. } = self.parameters;
        self.scores.clear();
        self.scores.extend_from_slice(logits);
        let mut highest = highest;
        if repetition_penalty != 1.0 {
            for &token in seen {
                // Computed from the logit, so that a token seen twice is penalised once.
                let Some(&logit) = logits.get(token as usize) else {
                    return Err(Error::input(format!(
                        "token {token} was seen, but the model has {} tokens",
                        logits.len()
                    )));
                };
                self.scores[token as usize] =
                    if logit < 0.0 { logit * repetition_penalty } else { logit / repetition_penalty };
            }
            highest = maximum(&self.scores).0;
        }
        if !do_sample || temperature == 0.0 {
            return Ok(position_of(highest, &self.scores));
        }
        let random = self.random.next_u64();
        // Division keeps the order, so this is the highest score below as well. Beyond the range of f32 all but the
        // likeliest token have probability 0.
        let warmed = highest / temperature;
        if !warmed.is_finite() {
            return Ok(position_of(highest, &self.scores));
        }
        if temperature != 1.0 {
            for score in &mut self.scores {
                *score /= temperature;
            }
        }
        let least = if top_k > 0 && top_k < self.scores.len() {
            kth_largest(&self.scores, top_k, &mut self.largest)
        } else {
            f32::NEG_INFINITY
        };
        let unit = weight_unit(self.scores.len());
        self.candidates.clear();
        for (token, &score) in self.scores.iter().enumerate() {
            if score >= least {
                let weight = (f64::from(exponential(score - warmed)) * unit) as u64;
                // Those too unlikely for one unit are never drawn and weigh nothing in any sum.
                if weight > 0 {
                    self.candidates.push(Candidate { token: token as u32, score, weight });
                }
            }
        }
        if self.top_p < 1.0 {
            self.keep_top_p();
        }
        if self.min_p > 0.0 {
            let least = self.min_p * unit;
            self.candidates.retain(|candidate| candidate.weight as f64 >= least);
        }
        Ok(self.draw(random))
    }

    /// Removes the least likely candidates whose probabilities sum to at most 1 - `top_p`, but never the likeliest.
    fn keep_top_p(&mut self) {
        let total: u64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        let mut removable = ((1.0 - self.top_p) * total as f64) as u64;
        // However many weigh at most this, together they weigh at most what is removable: one pass decides most.
        let surely_removed = removable / self.candidates.len() as u64;
        self.undecided.clear();
        for &candidate in &self.candidates {
            if candidate.weight <= surely_removed {
                removable -= candidate.weight;
            } else {
                self.undecided.push(candidate);
            }
        }
        // With `top_p` 0, the likeliest may be among those.
        let first_kept = if self.undecided.is_empty() {
            self.candidates.iter().copied().max_by(Candidate::order)
        } else {
            Some(first_beyond(&mut self.undecided, removable))
        };
        let first_kept = first_kept.expect("the likeliest token is a candidate");
        self.candidates.retain(|candidate| candidate.order(&first_kept).is_ge());
    }

    /// Draws a candidate with a probability in proportion to its weight.
    fn draw(&self, random: u64) -> u32 {
        let total: u64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        // Multiplication instead of a remainder: no candidate's probability is off by more than 2^-64.
        let mut point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        for candidate in &self.candidates {
            if point < candidate.weight {
                return candidate.token;
            }
            point -= candidate.weight;
        }
        unreachable!("the point is below the sum of the weights")
    }
}

/// The highest logit, which is finite.
fn highest_logit(logits: &[f32]) -> Result<f32> {
    let refused = |found: String| {
        Err(Error::Shape { operation: "sampling", expected: "logits that are numbers".into(), found })
    };
    if logits.is_empty() {
        return refused("no logits".into());
    }
    match maximum(logits) {
        (_, true) => {
            let token = logits.iter().position(|logit| logit.is_nan()).unwrap_or_default();
            refused(format!("NaN for token {token}"))
        }
        (f32::INFINITY, false) => {
            refused(format!("+infinity for token {}", position_of(f32::INFINITY, logits)))
        }
        (f32::NEG_INFINITY, false) => refused("-infinity for every token".into()),
        (highest, false) => Ok(highest),
    }
}

/// The greatest number, and whether one is NaN. Lanes, so that the compiler can use vector instructions.
fn maximum(numbers: &[f32]) -> (f32, bool) {
    let mut greatest = [f32::NEG_INFINITY; 16];
    let mut nan = [false; 16];
    let chunks = numbers.chunks_exact(16);
    for (lane, &number) in chunks.remainder().iter().enumerate() {
        greatest[lane] = if number > greatest[lane] { number } else { greatest[lane] };
        nan[lane] |= number.is_nan();
    }
    for chunk in chunks {
        for lane in 0..16 {
            greatest[lane] = if chunk[lane] > greatest[lane] { chunk[lane] } else { greatest[lane] };
            nan[lane] |= chunk[lane].is_nan();
        }
    }
    (greatest.into_iter().fold(f32::NEG_INFINITY, f32::max), nan.contains(&true))
}

/// The first position of `number`.
fn position_of(number: f32, numbers: &[f32]) -> u32 {
    numbers.iter().position(|&other| other == number).expect("the number was found in the list") as u32
}

/// The sum of exp(logit - highest), accumulated in 64 bits in an order that is the same on every platform.
fn sum_of_exponentials(logits: &[f32], highest: f32) -> f64 {
    let mut sums = [0.0f64; 16];
    let chunks = logits.chunks_exact(16);
    for (lane, &logit) in chunks.remainder().iter().enumerate() {
        sums[lane] += f64::from(exponential(logit - highest));
    }
    for chunk in chunks {
        for lane in 0..16 {
            sums[lane] += f64::from(exponential(chunk[lane] - highest));
        }
    }
    sums.into_iter().sum()
}

/// exp(x) for x at most 0, within 2 units in the last place; 0 below -87.
///
/// Written out because the exponential of the standard library is that of the platform, and differs between platforms
/// in the last bit. The polynomial is that of Cephes' `expf` (Moshier, 1989).
#[inline(always)]
fn exponential(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no bits for a fraction: the sum is rounded to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with trailing zeros, so that its products are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = x - power * LN_2_HIGH - power * LN_2_LOW;
    let mut polynomial = 1.987_569_1e-4;
    polynomial = polynomial * rest + 1.398_199_9e-3;
    polynomial = polynomial * rest + 8.333_452e-3;
    polynomial = polynomial * rest + 4.166_579_6e-2;
    polynomial = polynomial * rest + 1.666_666_5e-1;
    polynomial = polynomial * rest + 0.5;
    let mantissa = polynomial * rest * rest + rest + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    let scaled = mantissa * f32::from_bits(exponent << 23);
    if x < -87.0 { 0.0 } else { scaled }
}

/// The weight of the likeliest of `count` tokens: the greatest power of two that leaves their sum below 2^63.
fn weight_unit(count: usize) -> f64 {
    (1u64 << weight_bits(count)) as f64
}

/// The logarithm of [`weight_unit`] to base 2.
pub(crate) fn weight_bits(count: usize) -> u32 {
    62 - count.max(1).ilog2()
}

/// The `k`-th largest number, k from 1 to the length. `buffer` is overwritten.
///
/// One pass that looks only at what is above the k-th largest so far; most of a vocabulary is skipped 16 at a time.
fn kth_largest(numbers: &[f32], k: usize, buffer: &mut Vec<f32>) -> f32 {
    let descending = |a: &f32, b: &f32| b.partial_cmp(a).unwrap_or(Ordering::Equal);
    let capacity = 2 * k + 512;
    let mut bound = f32::NEG_INFINITY;
    buffer.clear();
    for chunk in numbers.chunks(16) {
        if !chunk.iter().fold(false, |any, &number| any | (number > bound)) {
            continue;
        }
        for &number in chunk {
            if number > bound {
                buffer.push(number);
            }
        }
        if buffer.len() >= capacity {
            bound = *buffer.select_nth_unstable_by(k - 1, descending).1;
            buffer.truncate(k);
        }
    }
    if buffer.len() < k {
        // Fewer than k are above -infinity.
        return f32::NEG_INFINITY;
    }
    *buffer.select_nth_unstable_by(k - 1, descending).1
}

/// Going up from the least likely: the first candidate with which the sum of weights exceeds `removable`, or the
/// likeliest. Selection by halves, each half looked at once.
fn first_beyond(mut candidates: &mut [Candidate], mut removable: u64) -> Candidate {
    while candidates.len() > 32 {
        let middle = candidates.len() / 2;
        candidates.select_nth_unstable_by(middle, Candidate::order);
        let lower: u64 = candidates[..middle].iter().map(|candidate| candidate.weight).sum();
        candidates = if lower <= removable {
            removable -= lower;
            &mut candidates[middle..]
        } else {
            &mut candidates[..middle]
        };
    }
    candidates.sort_unstable_by(Candidate::order);
    let (last, others) = candidates.split_last().expect("the caller passes at least one candidate");
    for candidate in others {
        if candidate.weight > removable {
            return *candidate;
        }
        removable -= candidate.weight;
    }
    *last
}

#[cfg(test)]
mod tests;
