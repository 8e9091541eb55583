//! `pipelines forward`

use std::path::PathBuf;

use pipelines::forward::{self, ForwardOptions};
use pipelines::{DeviceId, QuantizedFormat};

use crate::options::{Outcome, WeightFormat};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The checkpoint: a directory in the layout of Hugging Face
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A safetensors file with the arguments of the reference's forward, such as `input_ids`
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// The safetensors file to write, with the outputs of the reference's forward, such as `logits`
    #[arg(long, value_name = "FILE")]
    outputs: PathBuf,
    /// Where to run: `cpu`, `cuda`, `rocm`, `cuda:1`
    #[arg(long, default_value = "cpu")]
    device: DeviceId,
    /// The number format of the weights that are not quantised [default: the checkpoint's]
    #[arg(long, value_enum)]
    dtype: Option<WeightFormat>,
    /// Quantise the weights of linear maps: `q8_0`, `q4_k`
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<QuantizedFormat>,
    /// Also write `hidden_states.N`
    #[arg(long)]
    output_hidden_states: bool,
    /// Also write `router_logits.N` and `aux_loss`
    #[arg(long)]
    output_router_logits: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let options = ForwardOptions {
        device: Some(arguments.device),
        dtype: arguments.dtype.map(Into::into),
        quantization: arguments.quantize,
        output_hidden_states: arguments.output_hidden_states,
        output_router_logits: arguments.output_router_logits,
    };
    Ok(forward::run(&arguments.model, &arguments.inputs, &arguments.outputs, &options)?)
}
