//! `pipelines bench`

mod device;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use clap::ValueEnum;
use pipelines::kernels::roof::{RoofProbe, Roofs};
use pipelines::layers::{Batch, KvCache, RoutingPolicy, Weights};
use pipelines::models::mixtral::{Config, Head, Mixtral};
use pipelines::{DType, DeviceId, Hardware};
use serde_json::{Value, json};

use crate::options::{Outcome, WeightFormat};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shape of the layers
    #[arg(long, value_enum, default_value = "mixtral-8x7b")]
    preset: Preset,
    /// Layers of that shape
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// The number format of the weights
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: WeightFormat,
    /// Where to run: `cpu`, `cuda`, `rocm`, `cuda:1`
    #[arg(long, default_value = "cpu")]
    device: DeviceId,
    /// Sequences at once; on a GPU alone there can be more than one
    #[arg(long, value_delimiter = ',', default_value = "1")]
    batch: Vec<usize>,
    /// Tokens of the prompt before decoding
    #[arg(long, default_value_t = 32)]
    prompt: usize,
    /// Tokens to decode in each turn
    #[arg(long, default_value_t = 16)]
    tokens: usize,
    /// Tokens of the prompts whose prefill is measured
    #[arg(long, value_delimiter = ',', default_value = "128,512")]
    prefill: Vec<usize>,
    /// Turns; the two sides take them one after the other
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// A Python with torch and transformers, to measure the same model there in the same run
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Real models whose layers can be had with random weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// Hidden 4096, 8 experts of 14336, 2 a token, 32 heads on 8 key heads, vocabulary 32000
    #[value(name = "mixtral-8x7b")]
    Mixtral8x7b,
    /// Hidden 128, 8 experts of 256: to try the command with
    Tiny,
}

impl Preset {
    fn name(self) -> &'static str {
        match self {
            Preset::Mixtral8x7b => "mixtral-8x7b",
            Preset::Tiny => "tiny",
        }
    }

    fn config(self, layers: usize) -> Config {
        let sizes = match self {
            Preset::Mixtral8x7b => json!({
                "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
                "num_attention_heads": 32, "num_key_value_heads": 8,
                "num_local_experts": 8, "num_experts_per_tok": 2,
                "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
            }),
            Preset::Tiny => json!({
                "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256,
                "num_attention_heads": 4, "num_key_value_heads": 2,
                "num_local_experts": 8, "num_experts_per_tok": 2,
                "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
            }),
        };
        let Value::Object(mut fields) = sizes else { unreachable!("the sizes are an object") };
        fields.insert("num_hidden_layers".to_owned(), layers.into());
        Config::from_json(&fields).expect("the presets are configurations")
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let dtype = DType::from(arguments.dtype);
    if arguments.device.hardware != Hardware::Cpu {
        return device::run(arguments, dtype);
    }
    if arguments.batch != [1] {
        return Err("on the processor `--batch` is 1".into());
    }
    if dtype == DType::F16 {
        return Err("the processor has no arithmetic in f16; expected one of `f32`, `bf16`".into());
    }
    if !(1..=1024).contains(&arguments.layers) {
        return Err("`--layers` must be from 1 to 1024".into());
    }
    let counts = [arguments.turns, arguments.tokens, arguments.prompt];
    if counts.iter().chain(&arguments.prefill).any(|&count| count == 0) {
        return Err("`--turns`, `--tokens`, `--prompt` and `--prefill` must be at least 1".into());
    }
    let config = arguments.preset.config(arguments.layers);
    let context = config.max_position_embeddings;
    let decoded = arguments.tokens.saturating_mul(arguments.turns.saturating_add(1));
    let longest = arguments.prefill.iter().copied().max().unwrap_or(0);
    if longest.max(decoded.saturating_add(arguments.prompt)) > context {
        return Err(format!("the context of the preset is {context} tokens").into());
    }
    let bytes = step_bytes(&config, dtype);
    let mut peer = arguments.peer.as_deref().map(|python| Peer::start(python, arguments)).transpose()?;
    let start = Instant::now();
    let network = Mixtral::load(&Weights::random(0, dtype), config, Head::CausalLm, |_, _| {})?;
    let made_in = start.elapsed();
    eprintln!("random weights of {} layer(s) made in {:.1} s", arguments.layers, made_in.as_secs_f64());

    let before = Roofs::measure();
    let probe = RoofProbe::new();
    let mut ours = Ours::new(&network, arguments.prompt)?;
    ours.decode(2)?;
    let mut measured = Measured::new(arguments);
    for _ in 0..arguments.turns {
        // Another job on the machine lowers the roof as it lowers the rest, so that it is sampled where it counts.
        let roof_before = probe.dram_read();
        let times = ours.decode(arguments.tokens)?;
        let roof = (roof_before + probe.dram_read()) / 2.0;
        measured.shares.push(bytes as f64 / (roof * 1e9) * 1e3 / median(&times));
        measured.decode.ours.extend(times);
        if let Some(peer) = &mut peer {
            measured.decode.peer.extend(peer.ask(&format!("decode {}", arguments.tokens))?);
        }
        for (tokens, times) in &mut measured.prefill {
            times.ours.push(ours.prefill(*tokens)?);
            if let Some(peer) = &mut peer {
                times.peer.extend(peer.ask(&format!("prefill {tokens}"))?);
            }
        }
    }
    let after = Roofs::measure();
    let report = Report { arguments, bytes, before, after, measured };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        report.print();
    }
    Ok(())
}

/// Bytes of weights that one decoding step reads.
fn step_bytes(config: &Config, dtype: DType) -> u64 {
    // The embedding is read a row a token.
    let embedding = (config.vocab_size * config.hidden_size) as u64;
    (config.active_parameter_count(Head::CausalLm) - embedding) * dtype.size() as u64
}

/// Milliseconds of both sides.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

struct Measured {
    decode: Times,
    /// For each turn, decoding's share of the roof.
    shares: Vec<f64>,
    prefill: Vec<(usize, Times)>,
}

impl Measured {
    fn new(arguments: &Arguments) -> Measured {
        let prefill = arguments.prefill.iter().map(|&tokens| (tokens, Times::default())).collect();
        Measured { decode: Times::default(), shares: Vec::new(), prefill }
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

/// Our side: greedy decoding after a prompt, and prefill of fresh prompts.
struct Ours<'a> {
    network: &'a Mixtral,
    policy: RoutingPolicy,
    cache: KvCache,
    position: usize,
    token: u32,
}

impl<'a> Ours<'a> {
    fn new(network: &'a Mixtral, prompt: usize) -> Result<Ours<'a>, Box<dyn std::error::Error>> {
        let policy = network.routing_policy();
        let mut ours = Ours { network, policy, cache: network.cache(1, 0)?, position: 0, token: 0 };
        ours.token = ours.step(&tokens(prompt, network.config().vocab_size))?;
        Ok(ours)
    }

    /// Reads tokens and gives the likeliest next one.
    fn step(&mut self, tokens: &[u32]) -> Result<u32, Box<dyn std::error::Error>> {
        let mut batch = Batch::default();
        batch.push(0, self.position, tokens.len());
        self.position += tokens.len();
        let embedded = self.network.embed(&mut batch, tokens)?;
        let forward = self.network.forward(embedded, &batch, &mut self.cache, &self.policy, false)?;
        let last = forward.last_hidden_state.select_rows(&batch.last_rows())?;
        let logits = self.network.logits(&last)?.to_vec()?;
        let best = (0..logits.len()).max_by(|&left, &right| logits[left].total_cmp(&logits[right]));
        Ok(best.expect("a vocabulary is not empty") as u32)
    }

    /// Milliseconds of each of `count` decoded tokens.
    fn decode(&mut self, count: usize) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let step = |_| {
            let start = Instant::now();
            self.token = self.step(&[self.token])?;
            Ok(1e3 * start.elapsed().as_secs_f64())
        };
        (0..count).map(step).collect()
    }

    /// Milliseconds until the first token after a prompt of `count` tokens.
    fn prefill(&self, count: usize) -> Result<f64, Box<dyn std::error::Error>> {
        let prompt = tokens(count, self.network.config().vocab_size);
        let policy = self.policy.clone();
        let cache = self.network.cache(1, 0)?;
        let mut fresh = Ours { network: self.network, policy, cache, position: 0, token: 0 };
        let start = Instant::now();
        fresh.step(&prompt)?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    }
}

/// A prompt that visits the whole vocabulary, so that routing is spread over the experts.
fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|index| (index * 7919 % vocabulary) as u32).collect()
}

/// The other side: transformers in a process of its own, its model resident.
struct Peer {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    about: Value,
}

impl Peer {
    fn start(python: &Path, arguments: &Arguments) -> Result<Peer, Box<dyn std::error::Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/transformers_decode.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(["--serve", "--preset", arguments.preset.name()])
            .args(["--layers", &arguments.layers.to_string()])
            .args(["--dtype", DType::from(arguments.dtype).name()])
            .args(["--prompt", &arguments.prompt.to_string()])
            .args(["--device", &torch_device(arguments.device)])
            // Its threads must not spin while it is our turn. It costs the peer nothing on an idle machine.
            .env("OMP_WAIT_POLICY", "passive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", python.display()))?;
        let questions = process.stdin.take().expect("it was asked for");
        let answers = BufReader::new(process.stdout.take().expect("it was asked for"));
        let mut peer = Peer { process, questions, answers, about: Value::Null };
        peer.about = peer.answer()?;
        Ok(peer)
    }

    fn answer(&mut self) -> Result<Value, Box<dyn std::error::Error>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("the peer ended: {}", self.process.wait()?).into());
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer.get("error") {
            Some(error) => Err(format!("the peer: {error}").into()),
            None => Ok(answer),
        }
    }

    /// The milliseconds that the peer took.
    fn ask(&mut self, question: &str) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        writeln!(self.questions, "{question}")?;
        let answer = self.answer()?;
        let times = answer.get("ms").and_then(Value::as_array).ok_or("the peer gave no times")?;
        Ok(times.iter().filter_map(Value::as_f64).collect())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Where it ended by itself, there is nobody to ask, and nothing to wait for.
        let _ = writeln!(self.questions, "quit").and_then(|()| self.process.wait());
    }
}

/// PyTorch calls AMD's devices `cuda`, too.
fn torch_device(device: DeviceId) -> String {
    match device.hardware {
        Hardware::Cpu => "cpu".to_owned(),
        Hardware::Cuda | Hardware::Rocm => format!("cuda:{}", device.ordinal),
    }
}

struct Report<'a> {
    arguments: &'a Arguments,
    bytes: u64,
    before: Roofs,
    after: Roofs,
    measured: Measured,
}

impl Report<'_> {
    fn share_of_roof(&self) -> f64 {
        100.0 * median(&self.measured.shares)
    }

    fn json(&self) -> Value {
        let times = |times: &Times| {
            let peer = median(&times.peer);
            json!({
                "ms": median(&times.ours),
                "peer_ms": peer.is_finite().then_some(peer),
                "ratio": peer.is_finite().then(|| peer / median(&times.ours)),
            })
        };
        json!({
            "preset": self.arguments.preset.name(),
            "layers": self.arguments.layers,
            "dtype": DType::from(self.arguments.dtype),
            "dram_read_gb_per_s": [self.before.dram_read, self.after.dram_read],
            "bytes_per_token": self.bytes,
            "decode": times(&self.measured.decode),
            "decode_share_of_dram_roof": self.share_of_roof() / 100.0,
            "prefill": self.measured.prefill.iter()
                .map(|(tokens, measured)| json!({"tokens": tokens, "times": times(measured)}))
                .collect::<Vec<_>>(),
        })
    }

    fn print(&self) {
        let Arguments { preset, layers, dtype, turns, .. } = self.arguments;
        println!("{} x {layers} in {}, {turns} turns, medians", preset.name(), DType::from(*dtype));
        println!(
            "DRAM read {:.1} GB/s before, {:.1} after; a decoded token reads {:.2} GB of weights",
            self.before.dram_read,
            self.after.dram_read,
            self.bytes as f64 / 1e9,
        );
        println!(
            "{:<14}{:>12}{:>14}{:>12}{:>16}{:>8}",
            "", "ms", "tokens/s", "% of roof", "transformers ms", "ratio"
        );
        let decode = &self.measured.decode;
        self.row("decode", 1, decode, Some(self.share_of_roof()));
        for (tokens, times) in &self.measured.prefill {
            self.row(&format!("prefill {tokens}"), *tokens, times, None);
        }
    }

    fn row(&self, name: &str, tokens: usize, times: &Times, share: Option<f64>) {
        let ours = median(&times.ours);
        let peer = median(&times.peer);
        let share = share.map_or("-".to_owned(), |share| format!("{share:.0} %"));
        let (peer, ratio) = match peer.is_finite() {
            true => (format!("{peer:.1}"), format!("{:.2}", peer / ours)),
            false => ("-".to_owned(), "-".to_owned()),
        };
        println!("{name:<14}{ours:>12.1}{:>14.1}{share:>12}{peer:>16}{ratio:>8}", 1e3 * tokens as f64 / ours);
    }
}
