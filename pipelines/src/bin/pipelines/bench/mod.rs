//! `pipelines bench`: the session that generates text, on random weights, beside transformers on the same hardware.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | what can be asked for, and the model that is made for it |
//! | `measure.rs` | turns of both sides |
//! | `peer.rs` | the other side |
//! | `roof.rs` | how fast memory is |
//! | `report.rs` | what is written |

mod measure;
mod peer;
mod report;
mod roof;

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use pipelines::arch::generation::{LanguageModel, Record};
use pipelines::arch::moe::RoutingRecord;
use pipelines::hardware::Device;
use pipelines::layers::{Linear, Weights};
use pipelines::models::decoder::Decoder;
use pipelines::models::mixtral::{Head, Mixtral};
use pipelines::schema::models::ModelConfig;
use pipelines::tensor::Tensor;
use pipelines::text::Tokenizer;
use pipelines::{DType, DeviceId, Hardware, QuantizedFormat};
use serde_json::{Value, json};

use crate::options::{Outcome, WeightFormat};
use measure::{Bench, new_tokens};
use peer::Peer;
use report::Report;
use roof::Roof;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shape of the layers
    #[arg(long, value_enum, default_value = "mixtral-8x7b")]
    preset: Preset,
    /// Layers of that shape
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// Tokens of the vocabulary, instead of those of the shape: the output layer becomes smaller or larger
    #[arg(long, value_name = "N")]
    vocabulary: Option<usize>,
    /// The number format of the weights that are not quantised
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: WeightFormat,
    /// Quantise the weights of linear maps: `q8_0`, `q4_k`. The other side has dense ones all the same
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<QuantizedFormat>,
    /// Where to run: `cpu`, `cuda`, `rocm`, `cuda:1`
    #[arg(long, default_value = "cpu")]
    device: DeviceId,
    /// Sequences at once
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
    /// Write JSON, a line for each row as it is measured
    #[arg(long)]
    json: bool,
}

/// Real models whose layers can be had with random weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// Hidden 4096, 8 experts of 14336, 2 a token, 32 heads on 8 key heads, vocabulary 32000
    #[value(name = "mixtral-8x7b")]
    Mixtral8x7b,
    /// Llama 3.1: hidden 4096, feed-forward networks of 14336, 32 heads on 8 key heads, vocabulary 128256
    #[value(name = "llama-8b")]
    Llama8b,
    /// Hidden 128, 8 experts of 256: to try the command with
    Tiny,
    /// Hidden 128, without experts: the same
    TinyDense,
}

impl Preset {
    fn name(self) -> &'static str {
        match self {
            Preset::Mixtral8x7b => "mixtral-8x7b",
            Preset::Llama8b => "llama-8b",
            Preset::Tiny => "tiny",
            Preset::TinyDense => "tiny-dense",
        }
    }

    fn config(self, layers: usize, vocabulary: Option<usize>) -> ModelConfig {
        let sizes = match self {
            Preset::Mixtral8x7b => json!({
                "model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
                "num_attention_heads": 32, "num_key_value_heads": 8,
                "num_local_experts": 8, "num_experts_per_tok": 2,
                "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
            }),
            Preset::Llama8b => json!({
                "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
                "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
                "head_dim": 128, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
                "rope_scaling": {
                    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            }),
            Preset::Tiny => json!({
                "model_type": "mixtral", "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256,
                "num_attention_heads": 4, "num_key_value_heads": 2,
                "num_local_experts": 8, "num_experts_per_tok": 2,
                "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
            }),
            Preset::TinyDense => json!({
                "model_type": "llama", "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256,
                "num_attention_heads": 4, "num_key_value_heads": 2,
                "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
            }),
        };
        let Value::Object(mut fields) = sizes else { unreachable!("the sizes are an object") };
        fields.insert("num_hidden_layers".to_owned(), layers.into());
        if let Some(vocabulary) = vocabulary {
            fields.insert("vocab_size".to_owned(), vocabulary.into());
        }
        ModelConfig::from_json(&fields).expect("the presets are configurations")
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let dtype = DType::from(arguments.dtype);
    let config = arguments.config()?;
    let device = Device::open(arguments.device)?;
    // The other side makes its model while ours is made.
    let peer = arguments.peer.as_deref().map(|python| Peer::start(python, arguments)).transpose()?;
    let run = Run { arguments, dtype, device: &device, config: config.clone(), peer, start: Instant::now() };
    let weights = Weights::random(0, dtype).quantized(arguments.quantize).on(&device)?;
    match config {
        ModelConfig::Mixtral(config) => {
            let record = RoutingRecord::new(config.num_hidden_layers, config.num_local_experts);
            let model = Mixtral::load(&weights, config, Head::CausalLm, |_, _| {})?;
            run.measure(&model, model.routing_policy(), record)
        }
        ModelConfig::Decoder(config) => {
            run.measure(&Decoder::load(&weights, config, Head::CausalLm, |_, _| {})?, (), ())
        }
        other => Err(format!("`{}` has no preset", other.model_type()).into()),
    }
}

impl Arguments {
    /// The configuration of the model that is asked for, which must be possible.
    fn config(&self) -> Result<ModelConfig, Box<dyn std::error::Error>> {
        if self.device.hardware == Hardware::Cpu && matches!(self.dtype, WeightFormat::F16) {
            return Err("the processor has no arithmetic in f16; expected one of `f32`, `bf16`".into());
        }
        let counts = [self.turns, self.tokens, self.prompt];
        if counts.iter().chain(&self.prefill).chain(&self.batch).any(|&count| count == 0) {
            let names = "`--turns`, `--tokens`, `--prompt`, `--prefill` and `--batch`";
            return Err(format!("{names} must be at least 1").into());
        }
        if let Some(vocabulary @ ..2) = self.vocabulary {
            return Err(format!("`--vocabulary` is {vocabulary}, expected at least 2 tokens").into());
        }
        let config = self.preset.config(self.layers, self.vocabulary);
        let context = config.attention().map_or(0, |attention| attention.context);
        let longest = self.prefill.iter().copied().max().unwrap_or(0);
        if longest.max(self.prompt.saturating_add(new_tokens(self))) > context {
            return Err(format!("the context of the preset is {context} tokens").into());
        }
        Ok(config)
    }

    /// The size of the vocabulary where it is not that of the preset.
    fn other_vocabulary(&self) -> Option<usize> {
        let of_preset = self.preset.config(self.layers, None).vocab_size();
        self.vocabulary.filter(|&vocabulary| Some(vocabulary) != of_preset)
    }
}

/// A run before its model is made.
struct Run<'a> {
    arguments: &'a Arguments,
    dtype: DType,
    device: &'a Device,
    config: ModelConfig,
    peer: Option<Peer>,
    start: Instant,
}

impl Run<'_> {
    /// Measures the model that was made, and writes each row when it is there.
    fn measure<M, R>(mut self, model: &M, policy: M::Policy, record: R) -> Outcome
    where
        M: LanguageModel<Policy: Clone>,
        R: Record<M::Trace> + Clone,
    {
        let Run { arguments, dtype, device, .. } = self;
        let seconds = || self.start.elapsed().as_secs_f64();
        eprintln!("random weights of {} layer(s) made in {:.1} s", arguments.layers, seconds());
        if let Some(peer) = &mut self.peer {
            peer.wait()?;
            eprintln!("the peer ready after {:.1} s", seconds());
        }
        let roof = Roof::of(device)?;
        let bytes = step_bytes(&self.config, dtype, arguments.quantize);
        let error =
            arguments.quantize.map(|format| quantized_error(&self.config, format, device)).transpose()?;
        let sparse = self.config.experts().is_some();
        let report = Report { arguments, dtype, device, bytes, error, sparse };
        report.begin(&roof, self.peer.as_ref())?;
        let tokenizer = Tokenizer::of_words(model.vocabulary())?;
        let mut bench = Bench { model, policy, record, tokenizer, arguments, roof: &roof, peer: self.peer };
        for &batch in &arguments.batch {
            report.row(&bench.decode(batch)?)?;
            for &tokens in &arguments.prefill {
                report.row(&bench.prefill(tokens, batch)?)?;
            }
        }
        report.end(&roof)
    }
}

/// Bytes of weights that one decoding step of one token reads.
fn step_bytes(config: &ModelConfig, dtype: DType, quantization: Option<QuantizedFormat>) -> u64 {
    let Some(attention) = config.attention() else { return 0 };
    let (hidden, vocabulary) = (attention.hidden_size, config.vocab_size().unwrap_or(0));
    // The embedding is read a row a token.
    let mut dense = config.active_parameter_count(Head::CausalLm) - (vocabulary * hidden) as u64;
    let Some(format) = quantization else { return dense * dtype.size() as u64 };
    let heads = attention.num_attention_heads * attention.head_dim;
    let keys = attention.num_key_value_heads * attention.head_dim;
    // Weights of maps of a layer, and how long their rows are.
    let mut maps = vec![(hidden * (heads + 2 * keys), vec![hidden]), (heads * hidden, vec![heads])];
    let layers = match config {
        ModelConfig::Mixtral(config) => {
            let (size, widths) = (hidden * config.intermediate_size, vec![hidden, config.intermediate_size]);
            maps.push((config.num_experts_per_tok * 3 * size, widths));
            config.num_hidden_layers
        }
        ModelConfig::Decoder(config) => {
            let size = hidden * config.intermediate_size;
            maps.extend([(2 * size, vec![hidden]), (size, vec![config.intermediate_size])]);
            config.num_hidden_layers
        }
        _ => 0,
    };
    let maps = maps.into_iter().map(|(weights, widths)| (layers * weights, format.fitting(&widths)));
    let output = (vocabulary * hidden, QuantizedFormat::Q80.fitting(&[hidden]));
    let mut bytes = 0;
    for (weights, format) in maps.chain([output]) {
        if let Some(format) = format {
            dense -= weights as u64;
            bytes += format.bytes(weights) as u64;
        }
    }
    bytes + dense * dtype.size() as u64
}

/// How far the products of a quantised map are from those of the same weights in `f32`: the root of the mean square of
/// the difference over that of the products.
fn quantized_error(config: &ModelConfig, format: QuantizedFormat, device: &Device) -> pipelines::Result<f64> {
    let width = config.attention().map_or(0, |attention| attention.hidden_size);
    // All weights are drawn: none is repeated.
    let outputs = (1 << 19) / width;
    let products = |format| -> pipelines::Result<Vec<f32>> {
        let weights = Weights::random(0, DType::F32).quantized(format).on(device)?;
        let map = Linear::load(&weights, width, outputs)?;
        let x = (0..width).map(|index| (index as f32 * 0.7).sin()).collect();
        let x = Tensor::from_vec(x, &[1, width])?;
        let x = match device.gpu() {
            Some(device) => x.to_device(device)?,
            None => x,
        };
        map.forward(&x)?.to_vec()
    };
    let (exact, found) = (products(None)?, products(Some(format))?);
    let square = |number: f32| f64::from(number).powi(2);
    let difference: f64 = exact.iter().zip(&found).map(|(exact, found)| square(exact - found)).sum();
    Ok((difference / exact.iter().map(|&number| square(number)).sum::<f64>()).sqrt())
}
