//! A model alone: the reference's argument names go in, its output names come out.
//!
//! This is how a model is compared with its reference: inputs and outputs are safetensors files whose tensors bear
//! the names of the arguments (`input_ids`, `attention_mask`, ...) and outputs (`logits`, `last_hidden_state`, ...)
//! of the reference's `forward`.

mod decoder;
mod inputs;
mod losses;
mod mixtral;

use std::path::Path;

use pipeline_schema::models::ModelConfig;
use pipeline_schema::{DType, Hardware, Subject, arch, rules};
use safetensors::tensor::{Dtype, TensorView};

use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::hardware::{Device, DeviceId};
use crate::kernels::QuantizedFormat;
use crate::tensor::Tensor;

pub use inputs::{InputTensor, Inputs, Numbers};

/// What is asked of a forward pass beside its inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardOptions {
    /// The device to run on; `None` is the processor.
    pub device: Option<DeviceId>,
    /// The number format of the weights; `None` keeps the checkpoint's.
    pub dtype: Option<DType>,
    /// The format that linear maps are quantised to; `None` keeps them dense.
    pub quantization: Option<QuantizedFormat>,
    /// Also give `hidden_states.N`: the embeddings and what each layer gives, the last after the last norm.
    pub output_hidden_states: bool,
    /// Also give `router_logits.N` and, from a language model, `aux_loss`; `config.json` can ask for it, too.
    pub output_router_logits: bool,
}

/// What a forward pass gives: tensors under the reference's names.
pub type Outputs = Vec<(String, Tensor)>;

/// Runs the model in `directory` on the tensors of one file and writes what it gives to another.
///
/// # Errors
/// The checkpoint or the inputs are malformed, an input is none of the model's arguments, or a file cannot be read
/// or written.
pub fn run(directory: &Path, inputs: &Path, outputs: &Path, options: &ForwardOptions) -> Result<()> {
    let results = forward(directory, &Inputs::read(inputs)?, options)?;
    let bytes: Vec<Vec<u8>> = results
        .iter()
        .map(|(_, tensor)| Ok(tensor.as_slice()?.iter().flat_map(|number| number.to_le_bytes()).collect()))
        .collect::<Result<_>>()?;
    let views = results.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytes)
            .expect("a tensor has as many numbers as its shape says");
        (name.clone(), view)
    });
    let file = safetensors::serialize(views, None)
        .map_err(|problem| Error::malformed(outputs, problem.to_string()))?;
    std::fs::write(outputs, file).map_err(|source| Error::file(outputs, source))
}

/// Runs the model in `directory` on `inputs`.
///
/// # Errors
/// The checkpoint is malformed, or an input is none of the model's arguments or does not fit them.
pub fn forward(directory: &Path, inputs: &Inputs, options: &ForwardOptions) -> Result<Outputs> {
    let device = Device::open(options.device.unwrap_or(Hardware::Cpu.into()))?;
    let files = CheckpointFiles::open(directory)?;
    let facts = files.facts();
    let model = facts.model().map_err(|problems| Error::Rules { problems })?;
    let architecture = arch::of_model_type(model.model_type())
        .expect("every model type with a configuration belongs to an architecture");
    let mut request = rules::Request::new(architecture, architecture.default_task(), vec![device.hardware()]);
    request.dtype = options.dtype;
    let mut problems = rules::check_checkpoint(facts, &request);
    problems.extend(rules::hardware_computes_in_dtype(&request));
    // A model alone does no task.
    problems.retain(|problem| problem.subject != Subject::Task);
    if !problems.is_empty() {
        return Err(Error::Rules { problems });
    }
    match model {
        ModelConfig::Decoder(config) => decoder::forward(&files, config, inputs, &device, options),
        ModelConfig::Mixtral(config) => mixtral::forward(&files, config, inputs, &device, options),
        other => Err(Error::input(format!("`{}` cannot be run alone", other.model_type()))),
    }
}
