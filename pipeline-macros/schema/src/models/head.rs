//! What stands on top of a model.

use serde_json::{Map, Value};

use super::described;
use crate::checkpoint::Tensors;
use crate::problem::{Problem, Subject, quoted};

/// What stands on top of a model, as `architectures` of `config.json` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Head {
    /// Nothing (`MixtralModel`): the hidden states are the result.
    Base {
        /// Whether the tensors' names begin with `model.`, as in the checkpoint of a model with a head.
        nested: bool,
    },
    /// Scores of the next token (`MixtralForCausalLM`).
    CausalLm,
    /// Scores of a class (`MixtralForSequenceClassification`).
    SequenceClassification {
        /// How many classes there are.
        num_labels: usize,
    },
}

/// More labels than any classifier has.
const LABELS_LIMIT: u64 = 1 << 24;

impl Head {
    /// The head of a checkpoint, from the first class in `architectures`. Where the field is absent, the
    /// tensors tell: `score.weight` classifies, names without `model.` have no head, others are language models.
    ///
    /// # Errors
    ///
    /// `architectures` is no list of texts, or names a class that is none of these; `num_labels` is no count.
    pub fn of(config: &Map<String, Value>, tensors: &Tensors) -> Result<Head, Problem> {
        const SOURCE: &str = "config.json: architectures";
        let class = match config.get("architectures") {
            None | Some(Value::Null) => None,
            Some(Value::Array(classes)) => match classes.first() {
                None => None,
                Some(Value::String(class)) => Some(class.as_str()),
                Some(other) => {
                    let message =
                        format!("`architectures` must be a list of texts, but has {}", described(other));
                    return Err(Problem::new(Subject::Model, message).found_in(SOURCE));
                }
            },
            Some(other) => {
                let message = format!("`architectures` must be a list of texts, but is {}", described(other));
                return Err(Problem::new(Subject::Model, message).found_in(SOURCE));
            }
        };
        match class {
            Some(class) if class.ends_with("ForCausalLM") => Ok(Head::CausalLm),
            Some(class) if class.ends_with("ForSequenceClassification") => classifier(config),
            Some(class) if class.ends_with("Model") => {
                Ok(Head::Base { nested: tensors.contains("model.embed_tokens.weight") })
            }
            Some(class) => {
                let message = format!(
                    "the model class {} is not supported; expected one that ends in `ForCausalLM`, \
                     `ForSequenceClassification` or `Model`",
                    quoted(class)
                );
                Err(Problem::new(Subject::Model, message).found_in(SOURCE))
            }
            None if tensors.contains("score.weight") => classifier(config),
            None if tensors.contains("embed_tokens.weight") => Ok(Head::Base { nested: false }),
            None => Ok(Head::CausalLm),
        }
    }

    /// What every name of the model below the head begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Head::Base { nested: false } => "",
            Head::Base { nested: true } | Head::CausalLm | Head::SequenceClassification { .. } => "model.",
        }
    }

    /// What it is, in a few words.
    pub const fn description(self) -> &'static str {
        match self {
            Head::Base { .. } => "a model without a head",
            Head::CausalLm => "a language model",
            Head::SequenceClassification { .. } => "a classifier",
        }
    }
}

/// The labels are counted by `id2label`, or else `num_labels`, which is 2 unless given, as in transformers.
fn classifier(config: &Map<String, Value>) -> Result<Head, Problem> {
    let count = match (config.get("id2label"), config.get("num_labels")) {
        (Some(Value::Object(labels)), _) => Some(labels.len() as u64),
        (_, None | Some(Value::Null)) => Some(2),
        (_, Some(number)) => number.as_u64(),
    };
    match count {
        Some(count) if (1..=LABELS_LIMIT).contains(&count) => {
            Ok(Head::SequenceClassification { num_labels: count as usize })
        }
        _ => Err(Problem::new(Subject::Model, format!("`num_labels` must be from 1 to {LABELS_LIMIT}"))
            .found_in("config.json: num_labels")),
    }
}
