//! Rules between the parameters of a declaration: what has no effect beside something else, and what cannot be
//! together with it.

use super::Request;
use crate::parameter::Value;
use crate::problem::{Problem, Subject};
use crate::suggest;

/// A parameter has an effect on the task: `strength` where there is an image to start from, `points` where something is
/// cut out, `temperature` where something is written.
pub(super) fn parameters_are_of_the_task(request: &Request) -> Vec<Problem> {
    let architecture = request.architecture;
    // Of a task that is not the architecture's, a rule of its own tells.
    let Some(task) = request.task.filter(|task| architecture.tasks.contains(task)) else {
        return Vec::new();
    };
    let runs = architecture.runs();
    request
        .parameters
        .iter()
        .filter_map(|(name, _)| architecture.parameter(name))
        .filter(|parameter| !parameter.is_of(task))
        .filter(|parameter| !runs || architecture.runs_parameter(parameter.name))
        .map(|parameter| {
            let name = parameter.name;
            let of = architecture.tasks.iter().filter(|other| parameter.is_of(other));
            let of = suggest::all_of(
                of.filter(|other| !runs || architecture.runs_task(other)).map(|other| other.name),
            );
            let message = format!("`{name}` has no effect on `{}`; it is a parameter of {of}", task.name);
            about(name, message)
        })
        .collect()
}

/// Greedy decoding draws nothing: with `do_sample = false`, no parameter of sampling is declared.
pub(super) fn greedy_decoding_has_nothing_to_sample(request: &Request) -> Vec<Problem> {
    if request.value("do_sample") != Some(&Value::Boolean(false)) {
        return Vec::new();
    }
    ["temperature", "top_p", "top_k", "min_p"]
        .into_iter()
        .filter(|name| request.declares(name))
        .map(|name| {
            about(name, format!("`{name}` has no effect with `do_sample = false`; remove one of the two"))
        })
        .collect()
}

/// Only an expert of limited capacity overflows: `overflow` comes with a `capacity_factor`.
pub(super) fn overflow_needs_a_capacity(request: &Request) -> Option<Problem> {
    if !request.declares("overflow") || request.declares("capacity_factor") {
        return None;
    }
    let message = "`overflow` has no effect without a `capacity_factor`; declare both or neither";
    Some(about("overflow", message))
}

/// Switch routing sends a token to one expert (<https://arxiv.org/abs/2101.03961>).
pub(super) fn switch_routing_has_one_active_expert(request: &Request) -> Option<Problem> {
    let active = request.integer("num_active_experts").filter(|&active| active > 1)?;
    request.text("routing").filter(|routing| *routing == "switch")?;
    let message = format!(
        "`num_active_experts` is {active}, but `routing = \"switch\"` sends a token to one expert; write 1, or \
         another routing"
    );
    Some(about("num_active_experts", message))
}

/// With guidance off there is nothing that a negative prompt is held against.
pub(super) fn negative_prompt_needs_guidance(request: &Request) -> Option<Problem> {
    let scale = request.number("guidance_scale").filter(|scale| *scale <= 1.0)?;
    request.text("negative_prompt")?;
    let message = format!(
        "`negative_prompt` has no effect with `guidance_scale = {scale}`, which turns guidance off; write a scale above \
         1, or remove `negative_prompt`"
    );
    Some(about("negative_prompt", message))
}

/// Labels are of points.
pub(super) fn point_labels_need_points(request: &Request) -> Option<Problem> {
    if !request.declares("point_labels") || request.declares("points") {
        return None;
    }
    Some(about("point_labels", "`point_labels` has no effect without `points`; declare both or neither"))
}

/// Every point has a label.
pub(super) fn every_point_has_a_label(request: &Request) -> Option<Problem> {
    let (Value::Tuples(points), Value::IntegerList(labels)) =
        (request.value("points")?, request.value("point_labels")?)
    else {
        return None;
    };
    let (points, labels) = (points.len(), labels.len());
    let message =
        format!("`points` has {points}, but `point_labels` has {labels}; write one label for each point");
    (points != labels).then(|| about("point_labels", message))
}

/// Documents that are given are not searched for.
pub(super) fn given_context_skips_retrieval(request: &Request) -> Vec<Problem> {
    if !matches!(request.value("context"), Some(Value::TextList(documents)) if !documents.is_empty()) {
        return Vec::new();
    }
    ["num_docs", "retriever", "rerank", "min_score", "diversity"]
        .into_iter()
        .filter(|name| request.value(name).is_some())
        .map(|name| {
            let message = format!(
                "`{name}` has no effect with `context`, which skips retrieval; remove one of the two"
            );
            about(name, message)
        })
        .collect()
}

/// Reranking is done by a part.
pub(super) fn reranking_needs_a_reranker(request: &Request) -> Option<Problem> {
    if request.value("rerank") != Some(&Value::Boolean(true))
        || request.parts.iter().any(|part| part == "reranker")
    {
        return None;
    }
    let message = "`rerank` needs the part `reranker`; write `reranker = ...` with the name of a pipeline that does \
                   `text-ranking`";
    Some(about("rerank", message))
}

fn about(parameter: &str, message: impl Into<String>) -> Problem {
    Problem::new(Subject::Parameter(parameter.to_owned()), message)
}
