//! Decoders under the names of the reference's `...ForCausalLM`, `...Model` and `...ForSequenceClassification`.

use serde_json::{Map, Value};

use crate::checkpoint::CheckpointFiles;
use crate::error::{Error, Result};
use crate::forward::losses::{classification_loss, language_loss};
use crate::forward::{ForwardOptions, InputTensor, Inputs, Numbers, Outputs};
use crate::hardware::Device;
use crate::layers::{Batch, Weights};
use crate::models::DecoderEnds;
use crate::models::decoder::{Config, Decoder, Head};
use crate::tensor::Tensor;

const NAMES: [&str; 6] =
    ["input_ids", "attention_mask", "position_ids", "inputs_embeds", "labels", "logits_to_keep"];

/// Runs a dense decoder.
pub(super) fn forward(
    files: &CheckpointFiles,
    config: Config,
    inputs: &Inputs,
    device: &Device,
    options: &ForwardOptions,
) -> Result<Outputs> {
    let facts = files.facts();
    let arguments = Arguments::read(inputs, facts.config(), facts.head()?, config.hidden_size)?;
    let weights = Weights::new(files, options.dtype).quantized(options.quantization).on(device)?;
    let model = Decoder::load(&weights, config, arguments.head, |_, _| {})?;
    let (embedded, batch) = arguments.embed(model.ends())?;
    let mut cache = model.cache(arguments.rows, arguments.tokens)?;
    let forward = model.forward(embedded, &batch, &mut cache, options.output_hidden_states)?;
    let mut outputs = arguments.outputs(model.ends(), &forward.last_hidden_state, 0.0)?;
    if options.output_hidden_states {
        outputs.extend(arguments.hidden_states(&forward.hidden_states, &forward.last_hidden_state)?);
    }
    Ok(outputs)
}

/// What the reference's `forward` of a decoder is called with.
pub(super) struct Arguments<'a> {
    inputs: &'a Inputs,
    /// `config.json`.
    config: &'a Map<String, Value>,
    pub(super) head: Head,
    hidden_size: usize,
    /// Texts.
    pub(super) rows: usize,
    /// Tokens of each, padding included.
    pub(super) tokens: usize,
    /// `attention_mask` `(rows * tokens)`
    pub(super) mask: Option<&'a [i64]>,
}

impl<'a> Arguments<'a> {
    /// Reads the arguments of a model of so many features.
    ///
    /// # Errors
    /// One of them is unknown or does not fit the others, or there is nothing to read.
    pub(super) fn read(
        inputs: &'a Inputs,
        config: &'a Map<String, Value>,
        head: Head,
        hidden_size: usize,
    ) -> Result<Arguments<'a>> {
        inputs.check_names(&NAMES)?;
        let (rows, tokens) = match (inputs.get("input_ids"), inputs.get("inputs_embeds")) {
            (Some(ids), None) => match ids.shape[..] {
                [rows, tokens] if rows * tokens > 0 => (rows, tokens),
                _ => return Err(misshapen("input_ids", &ids.shape, "(batch, tokens)")),
            },
            (None, Some(embeds)) => match embeds.shape[..] {
                [rows, tokens, width] if width == hidden_size && rows * tokens > 0 => (rows, tokens),
                _ => {
                    let expected = format!("(batch, tokens, {hidden_size})");
                    return Err(misshapen("inputs_embeds", &embeds.shape, &expected));
                }
            },
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::input("expected exactly one of the inputs `input_ids`, `inputs_embeds`"));
            }
        };
        let mask = inputs.integers("attention_mask", &[rows, tokens])?;
        Ok(Arguments { inputs, config, head, hidden_size, rows, tokens, mask })
    }

    /// The embeddings `(rows * tokens, hidden_size)` and the batch they belong to, both where the model is.
    ///
    /// # Errors
    /// A token outside the vocabulary, positions that do not fit, or a device without room.
    pub(super) fn embed(&self, ends: &DecoderEnds) -> Result<(Tensor, Batch)> {
        let mut batch = self.batch()?;
        let embedded = match self.inputs.get("inputs_embeds") {
            None => {
                let ids = self.inputs.integers("input_ids", &[self.rows, self.tokens])?.unwrap_or_default();
                ends.embed(&mut batch, &natural("input_ids", "token", ids)?)?
            }
            Some(InputTensor { numbers: Numbers::Floats(numbers), .. }) => {
                let shape = [self.rows * self.tokens, self.hidden_size];
                ends.place(&mut batch, Tensor::from_vec(numbers.clone(), &shape)?)?
            }
            Some(_) => {
                return Err(Error::input("input `inputs_embeds` has whole numbers, expected fractions"));
            }
        };
        Ok((embedded, batch))
    }

    /// A sequence a row, padding included: a padding token is a key that nothing sees. Positions count columns, as in the
    /// reference, unless they are given.
    fn batch(&self) -> Result<Batch> {
        let Arguments { rows, tokens, .. } = *self;
        let mut batch = Batch::default();
        for row in 0..rows {
            batch.push(row, 0, tokens);
            if let Some(mask) = self.mask {
                let seen = mask[row * tokens..][..tokens].iter().map(|&seen| seen != 0).collect();
                batch.sequences[row].key_mask = Some(seen);
            }
        }
        if let Some(InputTensor { shape, .. }) = self.inputs.get("position_ids") {
            // The reference broadcasts one row of positions over the batch.
            let given = if shape.first() == Some(&1) { 1 } else { rows };
            let positions = self.inputs.integers("position_ids", &[given, tokens])?.unwrap_or_default();
            batch.positions = natural("position_ids", "position", positions)?.repeat(rows / given);
            // Rotary embeddings that depend on the length go by the greatest position of the whole batch.
            let length = batch.positions.iter().max().map_or(0, |&position| position as usize + 1);
            batch.sequences.iter_mut().for_each(|sequence| sequence.length = length);
        }
        Ok(batch)
    }

    /// What the model gives, in memory of the host: `last_hidden_state`, or `logits`, and `loss` where there are labels. A
    /// loss of tokens has `added_loss` added.
    ///
    /// # Errors
    /// The labels do not fit, or it cannot be said which token classifies a text.
    pub(super) fn outputs(
        &self,
        ends: &DecoderEnds,
        last_hidden_state: &Tensor,
        added_loss: f64,
    ) -> Result<Outputs> {
        let Arguments { rows, tokens, .. } = *self;
        let mut outputs = Outputs::new();
        match self.head {
            Head::Base { .. } => {
                outputs.push(("last_hidden_state".to_owned(), self.shaped(last_hidden_state)?));
            }
            Head::CausalLm => {
                let keep = self.kept_logits()?;
                let kept: Vec<usize> = (0..rows)
                    .flat_map(|row| (tokens - keep..tokens).map(move |token| row * tokens + token))
                    .collect();
                let logits = ends.logits(&last_hidden_state.select_rows(&kept)?)?.to_host()?;
                if let Some(labels) = self.inputs.integers("labels", &[rows, tokens])? {
                    let loss = language_loss(&logits, labels, rows, keep, tokens)? + added_loss;
                    outputs.push(("loss".to_owned(), scalar(loss)?));
                }
                let logits = logits.reshape(&[rows, keep, logits.rows_and_width().1])?;
                outputs.push(("logits".to_owned(), logits));
            }
            Head::SequenceClassification { num_labels } => {
                let last = self.last_tokens()?;
                let logits = ends.logits(&last_hidden_state.select_rows(&last)?)?.to_host()?;
                if let Some(loss) = classification_loss(&logits, self.inputs, rows, num_labels)? {
                    outputs.push(("loss".to_owned(), scalar(loss)?));
                }
                outputs.push(("logits".to_owned(), logits));
            }
        }
        Ok(outputs)
    }

    /// `hidden_states.N`: what went into each layer, then what the last norm gave.
    ///
    /// # Errors
    /// Work on the device failed.
    pub(super) fn hidden_states(&self, into_layers: &[Tensor], last: &Tensor) -> Result<Outputs> {
        let states = into_layers.iter().chain([last]).enumerate();
        states.map(|(index, hidden)| Ok((format!("hidden_states.{index}"), self.shaped(hidden)?))).collect()
    }

    /// `(rows * tokens, width) -> (rows, tokens, width)`, in memory of the host.
    fn shaped(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_host()?.reshape(&[self.rows, self.tokens, tensor.rows_and_width().1])
    }

    /// `logits_to_keep`: logits of that many last tokens; 0, the default, keeps all.
    fn kept_logits(&self) -> Result<usize> {
        match self.inputs.integers("logits_to_keep", &[])? {
            None | Some([0]) => Ok(self.tokens),
            Some(&[keep]) => usize::try_from(keep)
                .map(|keep| keep.min(self.tokens))
                .map_err(|_| Error::input(format!("input `logits_to_keep` is {keep}"))),
            Some(_) => unreachable!("a scalar has one number"),
        }
    }

    /// The row of the token that classifies each sequence: the last that is not padding.
    fn last_tokens(&self) -> Result<Vec<usize>> {
        let Arguments { rows, tokens, .. } = *self;
        let Some(padding) = self.config.get("pad_token_id").and_then(Value::as_i64) else {
            if rows > 1 {
                let message = "a batch of several texts needs a padding token to find the last token of \
                               each (config.json: pad_token_id)";
                return Err(Error::input(message));
            }
            return Ok(vec![tokens - 1]);
        };
        let Some(ids) = self.inputs.integers("input_ids", &[rows, tokens])? else {
            return Ok((1..=rows).map(|row| row * tokens - 1).collect());
        };
        let last = |(row, ids): (usize, &[i64])| {
            row * tokens + ids.iter().rposition(|&id| id != padding).unwrap_or(0)
        };
        Ok(ids.chunks_exact(tokens).enumerate().map(last).collect())
    }
}

/// A tensor of one number without dimensions.
pub(super) fn scalar(number: f64) -> Result<Tensor> {
    Tensor::from_vec(vec![number as f32], &[])
}

/// Tokens or positions, which are not negative.
fn natural(input: &str, what: &str, numbers: &[i64]) -> Result<Vec<u32>> {
    let natural = |&number: &i64| {
        u32::try_from(number).map_err(|_| Error::input(format!("input `{input}` has the {what} {number}")))
    };
    numbers.iter().map(natural).collect()
}

fn misshapen(input: &str, shape: &[usize], expected: &str) -> Error {
    Error::Input(format!("input `{input}` has shape {shape:?}, expected {expected}"))
}
