//! `pipelines bench` on a GPU: the same session that generates text, beside transformers on the same device.

use std::time::Instant;

use pipelines::arch::generation::{GenerationPlan, LanguageModel, Record, Session, TokenSequences};
use pipelines::arch::moe::RoutingRecord;
use pipelines::gpu;
use pipelines::hardware::Device;
use pipelines::layers::Weights;
use pipelines::models::mixtral::{Head, Mixtral};
use pipelines::text::{SamplingParameters, Tokenizer};
use pipelines::{DType, Result};
use serde_json::json;

use super::{Arguments, Peer, Times, median, step_bytes, tokens};
use crate::options::Outcome;

/// Steps before those that are measured: kernels are compiled, and the step is recorded.
const WARM_STEPS: usize = 4;

/// What is measured of a number of sequences at once.
struct Row {
    batch: usize,
    decode: Times,
    /// Launches of a recorded step.
    launches: Option<usize>,
    /// Microseconds of the host's own work in a step.
    host: Vec<f64>,
    /// By tokens of a prompt.
    prefill: Vec<(usize, Times)>,
}

pub(super) fn run(arguments: &Arguments, dtype: DType) -> Outcome {
    let device = Device::open(arguments.device)?;
    let Some(gpu) = device.gpu() else { return Err("`--device` is no GPU".into()) };
    let config = arguments.preset.config(arguments.layers);
    let bytes = step_bytes(&config, dtype);
    let mut peer = arguments.peer.as_deref().map(|python| Peer::start(python, arguments)).transpose()?;
    let start = Instant::now();
    let (layers, experts) = (config.num_hidden_layers, config.num_local_experts);
    let weights = Weights::random(0, dtype).on(&device)?;
    let network = Mixtral::load(&weights, config, Head::CausalLm, |_, _| {})?;
    eprintln!("random weights of {layers} layer(s) made in {:.1} s", start.elapsed().as_secs_f64());

    let bench = Bench {
        tokenizer: Tokenizer::of_words(network.config().vocab_size)?,
        policy: || network.routing_policy(),
        record: || RoutingRecord::new(layers, experts),
        model: &network,
        arguments,
    };
    let copy_before = copy_bandwidth(gpu)?;
    let rows = bench.measure(peer.as_mut())?;
    let copy = [copy_before, copy_bandwidth(gpu)?];
    report(arguments, dtype, gpu, bytes, copy, &rows);
    Ok(())
}

struct Bench<'a, M, P, R> {
    model: &'a M,
    tokenizer: Tokenizer,
    policy: P,
    record: R,
    arguments: &'a Arguments,
}

impl<M, P, R, K> Bench<'_, M, P, R>
where
    M: LanguageModel,
    P: Fn() -> M::Policy,
    R: Fn() -> K,
    K: Record<M::Trace>,
{
    fn measure(&self, mut peer: Option<&mut Peer>) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
        let mut rows = Vec::new();
        for &batch in &self.arguments.batch {
            let prefill = self.arguments.prefill.iter().map(|&tokens| (tokens, Times::default())).collect();
            let mut row = Row { batch, decode: Times::default(), launches: None, host: Vec::new(), prefill };
            for turn in 0..=self.arguments.turns {
                // The first turn warms up.
                let counted = turn > 0;
                self.decode(&mut row, counted)?;
                if let Some(peer) = &mut peer {
                    let times = peer.ask(&format!("decode {} {batch}", self.arguments.tokens))?;
                    row.decode.peer.extend(times.into_iter().filter(|_| counted));
                }
                for (tokens, times) in &mut row.prefill {
                    let ours = self.prefill(*tokens, batch)?;
                    times.ours.extend(counted.then_some(ours));
                    if let Some(peer) = &mut peer {
                        let theirs = peer.ask(&format!("prefill {tokens} {batch}"))?;
                        times.peer.extend(theirs.into_iter().filter(|_| counted));
                    }
                }
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn begin(&self, prompt: usize, batch: usize, new_tokens: usize) -> Result<Session<M, K>> {
        let vocabulary = self.model.vocabulary();
        // Prompts differ, or sequences would visit the same experts.
        let sequences: Vec<Vec<u32>> =
            (0..batch).map(|sequence| tokens(prompt + sequence, vocabulary).split_off(sequence)).collect();
        let prepared = TokenSequences { continues: vec![true; batch], sequences };
        let plan = GenerationPlan {
            routing: (self.policy)(),
            sampling: SamplingParameters::greedy(),
            seed: 0,
            max_new_tokens: vec![new_tokens; batch],
            stop: Vec::new(),
            end_tokens: Vec::new(),
        };
        Session::begin(self.model, &self.tokenizer, prepared, plan, &self.record)
    }

    /// Milliseconds a step, each until its tokens are on the host.
    fn decode(&self, row: &mut Row, counted: bool) -> Result<()> {
        let count = self.arguments.tokens;
        let mut session = self.begin(self.arguments.prompt, row.batch, WARM_STEPS + count + 1)?;
        for _ in 0..WARM_STEPS {
            session.step(self.model)?;
        }
        let waited = |session: &Session<M, K>| session.statistics().map_or(0.0, |s| s.waited.as_secs_f64());
        for _ in 0..count {
            let (before, start) = (waited(&session), Instant::now());
            session.step(self.model)?;
            let elapsed = start.elapsed().as_secs_f64();
            if counted {
                row.decode.ours.push(1e3 * elapsed);
                row.host.push(1e6 * (elapsed - (waited(&session) - before)));
            }
        }
        row.launches = session.statistics().and_then(|statistics| statistics.launches);
        Ok(())
    }

    /// Milliseconds from the prompts to their first tokens on the host.
    fn prefill(&self, tokens: usize, batch: usize) -> Result<f64> {
        let mut session = self.begin(tokens, batch, 1)?;
        let start = Instant::now();
        session.step(self.model)?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    }
}

/// Terabytes that a copy on the device reads and writes a second.
fn copy_bandwidth(device: &gpu::Device) -> Result<f64> {
    let bytes = 2 << 30;
    let (from, to) = (device.allocate(bytes)?, device.allocate(bytes)?);
    // Zeros may be copied faster than numbers are.
    device.fill(&from, 0x5a)?;
    let microseconds =
        pipelines::kernels::check::time(device, 5, 4, || device.copy(&to, 0, &from, 0, bytes))?;
    Ok(2.0 * bytes as f64 / microseconds / 1e6)
}

fn report(
    arguments: &Arguments,
    dtype: DType,
    device: &gpu::Device,
    bytes: u64,
    copy: [f64; 2],
    rows: &[Row],
) {
    let floor = |row: &Row| {
        bytes as f64 / (copy[0] + copy[1]) * 2.0 / 1e9 * if row.batch == 1 { 1.0 } else { f64::NAN }
    };
    if arguments.json {
        let times = |times: &Times| json!({"ms": median(&times.ours), "peer_ms": Some(median(&times.peer)).filter(|ms| ms.is_finite())});
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "batch": row.batch, "decode": times(&row.decode), "launches": row.launches,
                    "host_us": median(&row.host),
                    "prefill": row.prefill.iter()
                        .map(|(tokens, measured)| json!({"tokens": tokens, "times": times(measured)}))
                        .collect::<Vec<_>>(),
                })
            })
            .collect();
        let report = json!({
            "device": device.chip().name, "preset": arguments.preset.name(), "layers": arguments.layers,
            "dtype": dtype, "copy_tb_per_s": copy, "bytes_per_token": bytes, "rows": rows,
        });
        println!("{report:#}");
        return;
    }
    println!(
        "{} x {} in {dtype} on {}, medians",
        arguments.preset.name(),
        arguments.layers,
        device.chip().name
    );
    println!(
        "device copy {:.2} TB/s before, {:.2} after (read + written); a token alone reads {:.2} GB of weights",
        copy[0],
        copy[1],
        bytes as f64 / 1e9
    );
    println!(
        "{:<22}{:>10}{:>10}{:>17}{:>8}{:>10}{:>10}",
        "", "ms", "floor", "transformers ms", "ratio", "launches", "host us"
    );
    let line = |name: String, times: &Times, floor: f64, row: Option<&Row>| {
        let (ours, peer) = (median(&times.ours), median(&times.peer));
        let or_dash = |number: f64, text: String| if number.is_finite() { text } else { "-".to_owned() };
        println!(
            "{name:<22}{ours:>10.3}{:>10}{:>17}{:>8}{:>10}{:>10}",
            or_dash(floor, format!("{floor:.2}")),
            or_dash(peer, format!("{peer:.2}")),
            or_dash(peer, format!("{:.1}", peer / ours)),
            row.and_then(|row| row.launches).map_or("-".to_owned(), |launches| launches.to_string()),
            row.map_or("-".to_owned(), |row| format!("{:.0}", median(&row.host))),
        );
    };
    for row in rows {
        line(format!("decode, batch {}", row.batch), &row.decode, floor(row), Some(row));
        for (tokens, times) in &row.prefill {
            line(format!("prefill {} x {tokens}", row.batch), times, f64::NAN, None);
        }
    }
}
