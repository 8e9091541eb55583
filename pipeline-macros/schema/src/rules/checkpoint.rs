//! Rules between a declaration and the configuration of its checkpoint.

use serde_json::Value;

use super::Request;
use crate::arch;
use crate::checkpoint::Checkpoint;
use crate::models::{Attention, Experts, Head};
use crate::problem::{Problem, Subject, quoted};

/// The model's type belongs to the declared architecture.
pub(super) fn model_type_belongs_to_architecture(
    checkpoint: &Checkpoint,
    request: &Request,
) -> Option<Problem> {
    let model_type = checkpoint.model_type();
    // An unknown type has a problem of its own, which says what is known.
    let architecture = arch::of_model_type(model_type)?;
    another_architecture(model_type, architecture.name, request.architecture.name).map(|problem| {
        problem.found_in(checkpoint.shown(&format!("config.json: model_type = {model_type:?}")))
    })
}

/// The problem where a model of one architecture is declared as another.
pub(super) fn another_architecture(model_type: &str, is: &str, declared: &str) -> Option<Problem> {
    if is == declared {
        return None;
    }
    let message =
        format!("the checkpoint is a {}, of the architecture `{is}`, not `{declared}`", quoted(model_type));
    Some(Problem::new(Subject::Arch, message))
}

/// The checkpoint has the head that the task needs.
pub(super) fn head_can_do_the_task(
    checkpoint: &Checkpoint,
    head: Head,
    request: &Request,
) -> Option<Problem> {
    let task = request.task?.name;
    let needed = match (task, head) {
        ("text-generation", Head::CausalLm) => return None,
        ("text-classification", Head::SequenceClassification { .. }) => return None,
        ("text-generation", _) => "a language model (`...ForCausalLM`)",
        ("text-classification", _) => "a classifier (`...ForSequenceClassification`)",
        // Hidden states come from any model.
        _ => return None,
    };
    let message = format!("`{task}` needs {needed}, but the checkpoint is {}", head.description());
    let source = match checkpoint.config().get("architectures") {
        Some(Value::Array(classes)) if !classes.is_empty() => {
            format!(
                "config.json: architectures = [{}]",
                crate::models::described(&classes[0]).replace('`', "\"")
            )
        }
        _ => "config.json: architectures is missing".to_owned(),
    };
    Some(Problem::new(Subject::Task, message).found_in(checkpoint.shown(&source)))
}

/// A token cannot visit more experts than a layer has: in the checkpoint's own configuration.
pub(super) fn enough_experts(checkpoint: &Checkpoint, experts: &Experts) -> Option<Problem> {
    if experts.active <= experts.count {
        return None;
    }
    let message = format!(
        "`{}` is {}, but the checkpoint has {}",
        experts.active_field,
        experts.active,
        count(experts)
    );
    Some(sized(checkpoint, message, experts.count_field, experts.count))
}

/// A token cannot visit more experts than a layer has: in the declaration.
pub(super) fn enough_experts_for_the_parameter(
    checkpoint: &Checkpoint,
    experts: &Experts,
    request: &Request,
) -> Option<Problem> {
    let active = request.integer("num_active_experts").filter(|&active| active > experts.count as i128)?;
    let message = format!("`num_active_experts` is {active}, but the checkpoint has {}", count(experts));
    let problem = sized(checkpoint, message, experts.count_field, experts.count);
    Some(Problem { subject: Subject::Parameter("num_active_experts".to_owned()), ..problem })
}

/// The heads share the hidden size evenly, unless their size is given.
pub(super) fn heads_divide_the_hidden_size(
    checkpoint: &Checkpoint,
    attention: &Attention,
) -> Option<Problem> {
    let Attention { hidden_size, num_attention_heads: heads, .. } = *attention;
    if attention.head_dim_given || hidden_size.is_multiple_of(heads) {
        return None;
    }
    let message =
        format!("`num_attention_heads` is {heads}, which does not divide `hidden_size` {hidden_size}");
    Some(sized(checkpoint, message, "num_attention_heads", heads))
}

/// The rotary embedding turns pairs: a head has an even size.
pub(super) fn head_dim_is_even(checkpoint: &Checkpoint, attention: &Attention) -> Option<Problem> {
    let Attention { head_dim, head_dim_given, .. } = *attention;
    if head_dim.is_multiple_of(2) {
        return None;
    }
    let message = format!("a head has {head_dim} numbers, but rotary embeddings need an even number of them");
    Some(if head_dim_given {
        sized(checkpoint, message, "head_dim", head_dim)
    } else {
        sized(checkpoint, message, "num_attention_heads", attention.num_attention_heads)
    })
}

/// Each head of keys and values is shared by as many heads of queries.
pub(super) fn key_value_heads_divide_heads(
    checkpoint: &Checkpoint,
    attention: &Attention,
) -> Option<Problem> {
    let Attention { num_attention_heads: heads, num_key_value_heads: key_value, .. } = *attention;
    if heads.is_multiple_of(key_value) {
        return None;
    }
    let message =
        format!("`num_key_value_heads` is {key_value}, which does not divide `num_attention_heads` {heads}");
    Some(sized(checkpoint, message, "num_key_value_heads", key_value))
}

/// What is to be generated fits into the context.
pub(super) fn context_holds_new_tokens(
    checkpoint: &Checkpoint,
    attention: &Attention,
    request: &Request,
) -> Option<Problem> {
    let context = attention.context;
    let tokens = request.integer("max_new_tokens").filter(|&tokens| tokens > context as i128)?;
    let message = format!("`max_new_tokens` is {tokens}, but the checkpoint's context is {context} tokens");
    let problem = sized(checkpoint, message, "max_position_embeddings", attention.max_position_embeddings);
    Some(Problem { subject: Subject::Parameter("max_new_tokens".to_owned()), ..problem })
}

/// Every id that the tokenizer can produce is in the model's vocabulary.
pub(super) fn tokenizer_fits_vocabulary(checkpoint: &Checkpoint, vocab_size: usize) -> Option<Problem> {
    let tokenizer = checkpoint.tokenizer().filter(|tokenizer| tokenizer.vocabulary_size > vocab_size)?;
    let message = format!(
        "the tokenizer is of another model: its greatest id is {}, but the model's vocabulary has {vocab_size} tokens",
        tokenizer.vocabulary_size - 1
    );
    let source = format!(
        "{}; {}",
        checkpoint.shown("tokenizer.json"),
        checkpoint.shown(&format!("config.json: vocab_size = {vocab_size}"))
    );
    Some(Problem::new(Subject::Model, message).found_in(source))
}

fn count(experts: &Experts) -> String {
    format!("{} expert{}", experts.count, if experts.count == 1 { "" } else { "s" })
}

/// A problem with the checkpoint whose source is a size in `config.json`.
fn sized(checkpoint: &Checkpoint, message: String, field: &str, size: usize) -> Problem {
    Problem::new(Subject::Model, message)
        .found_in(checkpoint.shown(&format!("config.json: {field} = {size}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_another_architecture_is_said_to_be() {
        assert_eq!(another_architecture("mixtral", "moe", "moe"), None);
        let problem = another_architecture("mamba", "state-space", "moe").unwrap();
        assert_eq!(
            problem.message,
            "the checkpoint is a `mamba`, of the architecture `state-space`, not `moe`"
        );
        assert_eq!(problem.subject, Subject::Arch);
    }
}
