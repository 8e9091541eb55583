//! Mixtral under the names of `MixtralForCausalLM`, `MixtralModel` and `MixtralForSequenceClassification`.

use serde_json::{Map, Value};

use crate::arch::moe::load_balancing_loss;
use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::forward::{ForwardOptions, InputTensor, Inputs, Numbers, Outputs};
use crate::hardware::Device;
use crate::layers::{Batch, Weights};
use crate::models::mixtral::{Config, Head, Mixtral};
use crate::tensor::Tensor;

const ARGUMENTS: [&str; 6] =
    ["input_ids", "attention_mask", "position_ids", "inputs_embeds", "labels", "logits_to_keep"];

/// The label that the loss leaves out.
const IGNORED: i64 = -100;

pub(super) fn forward(
    files: &CheckpointFiles,
    config: Config,
    inputs: &Inputs,
    device: &Device,
    options: &ForwardOptions,
) -> Result<Outputs> {
    inputs.check_names(&ARGUMENTS)?;
    let facts = files.facts();
    let head = facts.head()?;
    let weights = Weights::new(files, options.dtype).on(device);
    let model = Mixtral::load(&weights, config, head, |_, _| {})?;
    let json = facts.config();
    let output_router_logits = options.output_router_logits
        || json.get("output_router_logits").and_then(Value::as_bool).unwrap_or(false);

    let (given, rows, tokens) = given(&model, inputs)?;
    let mask = inputs.integers("attention_mask", &[rows, tokens])?;
    let mut batch = batch(inputs, rows, tokens, mask)?;
    let embedded = match given {
        Given::Tokens(tokens) => model.embed(&mut batch, &tokens)?,
        Given::Embeddings(embedded) => model.place(&mut batch, embedded)?,
    };
    let mut cache = model.cache(rows, tokens)?;
    let policy = model.routing_policy();
    let forward = model.forward(embedded, &batch, &mut cache, &policy, options.output_hidden_states)?;

    let mut outputs = Outputs::new();
    let shaped = |tensor: &Tensor| tensor.to_host()?.reshape(&[rows, tokens, tensor.rows_and_width().1]);
    let routing = forward.routing.into_host()?;
    let aux_loss = output_router_logits.then(|| aux_loss(&model, &routing, mask)).transpose()?;
    match head {
        Head::Base { .. } => {
            outputs.push(("last_hidden_state".to_owned(), shaped(&forward.last_hidden_state)?));
        }
        Head::CausalLm => {
            let keep = kept_logits(inputs, tokens)?;
            let kept: Vec<usize> = (0..rows)
                .flat_map(|row| (tokens - keep..tokens).map(move |token| row * tokens + token))
                .collect();
            let logits = model.logits(&forward.last_hidden_state.select_rows(&kept)?)?.to_host()?;
            if let Some(labels) = inputs.integers("labels", &[rows, tokens])? {
                let mut loss = language_loss(&logits, labels, rows, keep, tokens)?;
                if let Some(aux_loss) = aux_loss {
                    let coefficient =
                        json.get("router_aux_loss_coef").and_then(Value::as_f64).unwrap_or(0.001);
                    loss += coefficient * aux_loss;
                }
                outputs.push(("loss".to_owned(), scalar(loss)?));
            }
            outputs.push(("logits".to_owned(), logits.reshape(&[rows, keep, logits.rows_and_width().1])?));
            if let Some(aux_loss) = aux_loss {
                outputs.push(("aux_loss".to_owned(), scalar(aux_loss)?));
            }
        }
        Head::SequenceClassification { num_labels } => {
            let last = last_tokens(inputs, json, rows, tokens)?;
            let logits = model.logits(&forward.last_hidden_state.select_rows(&last)?)?.to_host()?;
            if let Some(loss) = classification_loss(&logits, inputs, rows, num_labels)? {
                outputs.push(("loss".to_owned(), scalar(loss)?));
            }
            outputs.push(("logits".to_owned(), logits));
        }
    }
    if options.output_hidden_states {
        for (index, hidden) in forward.hidden_states.iter().chain([&forward.last_hidden_state]).enumerate() {
            outputs.push((format!("hidden_states.{index}"), shaped(hidden)?));
        }
    }
    if output_router_logits {
        for (index, routing) in routing.into_iter().enumerate() {
            outputs.push((format!("router_logits.{index}"), routing.router_logits));
        }
    }
    Ok(outputs)
}

fn scalar(number: f64) -> Result<Tensor> {
    Tensor::from_vec(vec![number as f32], &[])
}

/// What a model is given.
enum Given {
    /// `input_ids` `(rows * tokens)`
    Tokens(Vec<u32>),
    /// `inputs_embeds` `(rows * tokens, hidden_size)`
    Embeddings(Tensor),
}

/// What is given, for so many rows of so many tokens.
fn given(model: &Mixtral, inputs: &Inputs) -> Result<(Given, usize, usize)> {
    match (inputs.get("input_ids"), inputs.get("inputs_embeds")) {
        (Some(ids), None) => {
            let (rows, tokens) = two_dimensions("input_ids", &ids.shape)?;
            let ids = inputs.integers("input_ids", &[rows, tokens])?.expect("it is given");
            let token = |&id: &i64| {
                u32::try_from(id).map_err(|_| Error::input(format!("input `input_ids` has the token {id}")))
            };
            let ids = ids.iter().map(token).collect::<Result<Vec<u32>>>()?;
            Ok((Given::Tokens(ids), rows, tokens))
        }
        (None, Some(InputTensor { shape, numbers: Numbers::Floats(numbers) })) => match shape[..] {
            [rows, tokens, width] if width == model.config().hidden_size && rows * tokens > 0 => {
                let embedded = Tensor::from_vec(numbers.clone(), &[rows * tokens, width])?;
                Ok((Given::Embeddings(embedded), rows, tokens))
            }
            _ => {
                let width = model.config().hidden_size;
                let message =
                    format!("input `inputs_embeds` has shape {shape:?}, expected (batch, tokens, {width})");
                Err(Error::Input(message))
            }
        },
        (None, Some(_)) => Err(Error::input("input `inputs_embeds` has whole numbers, expected fractions")),
        (Some(_), Some(_)) | (None, None) => {
            Err(Error::input("expected exactly one of the inputs `input_ids`, `inputs_embeds`"))
        }
    }
}

fn two_dimensions(name: &str, shape: &[usize]) -> Result<(usize, usize)> {
    match shape {
        &[rows, tokens] if rows > 0 && tokens > 0 => Ok((rows, tokens)),
        _ => Err(Error::input(format!("input `{name}` has shape {shape:?}, expected (batch, tokens)"))),
    }
}

/// A sequence a row, padding included: a padding token is a key that nothing sees. Positions count columns, as in the
/// reference, unless they are given.
fn batch(inputs: &Inputs, rows: usize, tokens: usize, mask: Option<&[i64]>) -> Result<Batch> {
    let mut batch = Batch::default();
    for row in 0..rows {
        batch.push(row, 0, tokens);
        if let Some(mask) = mask {
            let seen = mask[row * tokens..][..tokens].iter().map(|&seen| seen != 0).collect();
            batch.sequences[row].key_mask = Some(seen);
        }
    }
    if let Some(InputTensor { shape, .. }) = inputs.get("position_ids") {
        // The reference broadcasts one row of positions over the batch.
        let given = if shape.first() == Some(&1) { 1 } else { rows };
        let positions = inputs.integers("position_ids", &[given, tokens])?.expect("it is given");
        batch.positions = positions
            .iter()
            .map(|&position| {
                u32::try_from(position)
                    .map_err(|_| Error::input(format!("input `position_ids` has the position {position}")))
            })
            .collect::<Result<Vec<u32>>>()?
            .repeat(rows / given);
        // Rotary embeddings that depend on the length go by the greatest position of the whole batch.
        let length = batch.positions.iter().max().map_or(0, |&position| position as usize + 1);
        batch.sequences.iter_mut().for_each(|sequence| sequence.length = length);
    }
    Ok(batch)
}

/// `logits_to_keep`: logits of that many last tokens; 0, the default, keeps all.
fn kept_logits(inputs: &Inputs, tokens: usize) -> Result<usize> {
    match inputs.integers("logits_to_keep", &[])? {
        None | Some([0]) => Ok(tokens),
        Some(&[keep]) => usize::try_from(keep)
            .map(|keep| keep.min(tokens))
            .map_err(|_| Error::input(format!("input `logits_to_keep` is {keep}"))),
        Some(_) => unreachable!("a scalar has one number"),
    }
}

/// The load-balancing loss over all layers, padding left out.
fn aux_loss(model: &Mixtral, routing: &[crate::layers::LayerRouting], mask: Option<&[i64]>) -> Result<f64> {
    let num_experts = model.config().num_local_experts;
    let seen = |layer: &crate::layers::LayerRouting| {
        let logits = layer.router_logits.as_slice()?;
        let rows = logits.chunks_exact(num_experts).enumerate();
        let seen = rows.filter(|(row, _)| mask.is_none_or(|mask| mask[*row] != 0));
        Ok(seen.flat_map(|(_, logits)| logits).copied().collect())
    };
    let layers: Vec<Vec<f32>> = routing.iter().map(seen).collect::<Result<_>>()?;
    let layers: Vec<&[f32]> = layers.iter().map(Vec::as_slice).collect();
    Ok(load_balancing_loss(&layers, num_experts, model.config().num_experts_per_tok))
}

/// Mean cross entropy of each token's successor. `logits` holds the last `keep` of `tokens` positions of each row.
fn language_loss(logits: &Tensor, labels: &[i64], rows: usize, keep: usize, tokens: usize) -> Result<f64> {
    if keep != tokens {
        return Err(Error::input("`labels` need the logits of all tokens: leave `logits_to_keep` out"));
    }
    let shifted: Vec<i64> =
        labels.chunks_exact(tokens).flat_map(|labels| labels[1..].iter().copied().chain([IGNORED])).collect();
    debug_assert_eq!(shifted.len(), rows * tokens);
    cross_entropy(logits, &shifted)
}

/// Mean of `-log softmax(logits)[label]` over the rows whose label is not ignored.
fn cross_entropy(logits: &Tensor, labels: &[i64]) -> Result<f64> {
    let (_, width) = logits.rows_and_width();
    let logits = logits.as_slice()?;
    let (mut sum, mut count) = (0.0, 0.0);
    for (logits, &label) in logits.chunks_exact(width).zip(labels).filter(|(_, label)| **label != IGNORED) {
        let Some(&logit) = usize::try_from(label).ok().and_then(|label| logits.get(label)) else {
            return Err(Error::input(format!(
                "input `labels` has the label {label}, expected below {width}"
            )));
        };
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
        sum += f64::from(largest) + exponentials.ln() - f64::from(logit);
        count += 1.0;
    }
    Ok(sum / count)
}

/// The row of the token that classifies each sequence: the last that is not padding.
fn last_tokens(
    inputs: &Inputs,
    config: &Map<String, Value>,
    rows: usize,
    tokens: usize,
) -> Result<Vec<usize>> {
    let padding = config.get("pad_token_id").and_then(Value::as_i64);
    let Some(padding) = padding else {
        if rows > 1 {
            let message = "a batch of several texts needs a padding token to find the last token of each \
                           (config.json: pad_token_id)";
            return Err(Error::input(message));
        }
        return Ok(vec![tokens - 1]);
    };
    let Some(ids) = inputs.integers("input_ids", &[rows, tokens])? else {
        return Ok((1..=rows).map(|row| row * tokens - 1).collect());
    };
    let last =
        |(row, ids): (usize, &[i64])| row * tokens + ids.iter().rposition(|&id| id != padding).unwrap_or(0);
    Ok(ids.chunks_exact(tokens).enumerate().map(last).collect())
}

/// Cross entropy of one label a row, or the mean squared error where there is one number to predict.
fn classification_loss(
    logits: &Tensor,
    inputs: &Inputs,
    rows: usize,
    num_labels: usize,
) -> Result<Option<f64>> {
    let Some(labels) = inputs.get("labels") else { return Ok(None) };
    match &labels.numbers {
        Numbers::Integers(numbers) if num_labels > 1 && numbers.len() == rows => {
            cross_entropy(logits, numbers).map(Some)
        }
        Numbers::Floats(numbers) if num_labels == 1 && numbers.len() == rows => {
            let logits = logits.as_slice()?;
            let squares = logits.iter().zip(numbers).map(|(logit, label)| f64::from(logit - label).powi(2));
            Ok(Some(squares.sum::<f64>() / rows as f64))
        }
        _ => Err(Error::input(format!(
            "input `labels` has shape {:?}, expected one label for each of {rows} texts",
            labels.shape
        ))),
    }
}
