//! Mixtral under the names of `MixtralForCausalLM`, `MixtralModel` and `MixtralForSequenceClassification`: a decoder that
//! also gives its router's logits.

use serde_json::Value;

use crate::arch::moe::load_balancing_loss;
use crate::checkpoint::CheckpointFiles;
use crate::error::Result;
use crate::forward::decoder::{Arguments, scalar};
use crate::forward::{ForwardOptions, Inputs, Outputs};
use crate::hardware::Device;
use crate::layers::{LayerRouting, Weights};
use crate::models::mixtral::{Config, Head, Mixtral};

pub(super) fn forward(
    files: &CheckpointFiles,
    config: Config,
    inputs: &Inputs,
    device: &Device,
    options: &ForwardOptions,
) -> Result<Outputs> {
    let facts = files.facts();
    let json = facts.config();
    let arguments = Arguments::read(inputs, json, facts.head()?, config.hidden_size)?;
    let output_router_logits = options.output_router_logits
        || json.get("output_router_logits").and_then(Value::as_bool).unwrap_or(false);
    let weights = Weights::new(files, options.dtype).quantized(options.quantization).on(device)?;
    let model = Mixtral::load(&weights, config, arguments.head, |_, _| {})?;

    let (embedded, batch) = arguments.embed(model.ends())?;
    let mut cache = model.cache(arguments.rows, arguments.tokens)?;
    let policy = model.routing_policy();
    let forward = model.forward(embedded, &batch, &mut cache, &policy, options.output_hidden_states)?;
    let routing = forward.routing.into_host()?;

    let aux_loss = match (arguments.head, output_router_logits) {
        (Head::CausalLm, true) => Some(aux_loss(&model, &routing, arguments.mask)?),
        _ => None,
    };
    let coefficient = json.get("router_aux_loss_coef").and_then(Value::as_f64).unwrap_or(0.001);
    let added_loss = coefficient * aux_loss.unwrap_or(0.0);
    let mut outputs = arguments.outputs(model.ends(), &forward.last_hidden_state, added_loss)?;
    if let Some(aux_loss) = aux_loss {
        outputs.push(("aux_loss".to_owned(), scalar(aux_loss)?));
    }
    if options.output_hidden_states {
        outputs.extend(arguments.hidden_states(&forward.hidden_states, &forward.last_hidden_state)?);
    }
    if output_router_logits {
        let logits = routing.into_iter().enumerate();
        outputs
            .extend(logits.map(|(index, routing)| (format!("router_logits.{index}"), routing.router_logits)));
    }
    Ok(outputs)
}

/// The load-balancing loss over all layers, padding left out.
fn aux_loss(model: &Mixtral, routing: &[LayerRouting], mask: Option<&[i64]>) -> Result<f64> {
    let num_experts = model.config().num_local_experts;
    let seen = |layer: &LayerRouting| {
        let logits = layer.router_logits.as_slice()?;
        let rows = logits.chunks_exact(num_experts).enumerate();
        let seen = rows.filter(|(row, _)| mask.is_none_or(|mask| mask[*row] != 0));
        Ok(seen.flat_map(|(_, logits)| logits).copied().collect())
    };
    let layers: Vec<Vec<f32>> = routing.iter().map(seen).collect::<Result<_>>()?;
    let layers: Vec<&[f32]> = layers.iter().map(Vec::as_slice).collect();
    Ok(load_balancing_loss(&layers, num_experts, model.config().num_experts_per_tok))
}
