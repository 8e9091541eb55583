//! The losses that a forward pass gives where it is given labels.

use crate::error::{Error, Result};
use crate::forward::{Inputs, Numbers};
use crate::tensor::Tensor;

/// The label that the loss leaves out.
const IGNORED: i64 = -100;

/// Mean cross entropy of each token's successor. `logits` holds the last `keep` of `tokens` positions of each row.
pub(super) fn language_loss(
    logits: &Tensor,
    labels: &[i64],
    rows: usize,
    keep: usize,
    tokens: usize,
) -> Result<f64> {
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

/// Cross entropy of one label a row, or the mean squared error where there is one number to predict.
pub(super) fn classification_loss(
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
