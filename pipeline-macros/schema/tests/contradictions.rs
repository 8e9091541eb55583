//! Each rule between the parameters of a declaration, broken and kept.
#![allow(missing_docs)]

use pipeline_schema::rules::{Request, check_declaration};
use pipeline_schema::{ArchitectureSpec, Hardware, TaskSpec, Value, arch, task};

type Parameters<'a> = &'a [(&'a str, Option<Value>)];

/// The problems of a declaration of these parameters, but for that its architecture may not run yet.
fn declared(
    architecture: &'static ArchitectureSpec,
    task: &'static TaskSpec,
    parameters: Parameters<'_>,
) -> Vec<String> {
    let mut request = Request::new(architecture, task, vec![Hardware::Cpu]);
    request.parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    problems(&request)
}

fn problems(request: &Request) -> Vec<String> {
    let mut problems = check_declaration(request);
    problems.retain(|problem| problem.subject != pipeline_schema::Subject::Arch);
    problems.into_iter().map(|problem| problem.message).collect()
}

fn moe(parameters: Parameters<'_>) -> Vec<String> {
    declared(&arch::MOE, &task::TEXT_GENERATION, parameters)
}

fn drawing(parameters: Parameters<'_>) -> Vec<String> {
    declared(&arch::DIFFUSION, &task::TEXT_TO_IMAGE, parameters)
}

fn cutting_out(parameters: Parameters<'_>) -> Vec<String> {
    declared(&arch::DIFFUSION, &task::MASK_GENERATION, parameters)
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

const NONE: [&str; 0] = [];

#[test]
fn a_parameter_is_of_the_task() {
    assert_eq!(
        drawing(&[("strength", None)]),
        [
            "`strength` has no effect on `text-to-image`; it is a parameter of `image-to-image` and `inpainting`"
        ]
    );
    for task in [&task::IMAGE_TO_IMAGE, &task::INPAINTING] {
        assert_eq!(declared(&arch::DIFFUSION, task, &[("strength", None)]), NONE);
    }
    assert_eq!(
        cutting_out(&[("guidance_scale", None)]),
        ["`guidance_scale` has no effect on `mask-generation`; it is a parameter of `text-to-image`, \
          `image-to-image`, `inpainting` and `image-variation`"]
    );
    // Of what runs, only what runs is named.
    assert_eq!(
        declared(&arch::MOE, &task::FEATURE_EXTRACTION, &[("temperature", None)]),
        ["`temperature` has no effect on `feature-extraction`; it is a parameter of `text-generation`"]
    );
    assert_eq!(declared(&arch::MOE, &task::FEATURE_EXTRACTION, &[("num_active_experts", None)]), NONE);
    // A task that is not the architecture's is one mistake.
    assert_eq!(declared(&arch::MOE, &task::TEXT_TO_IMAGE, &[("temperature", None)]).len(), 1);
}

#[test]
fn greedy_decoding_has_nothing_to_sample() {
    let greedy = ("do_sample", Some(Value::Boolean(false)));
    let message = "`temperature` has no effect with `do_sample = false`; remove one of the two";
    for temperature in [None, Some(Value::Float(0.5))] {
        assert_eq!(moe(&[greedy.clone(), ("temperature", temperature)]), [message]);
    }
    assert_eq!(moe(&[greedy, ("repetition_penalty", None)]), NONE);
    assert_eq!(moe(&[("do_sample", None), ("temperature", None)]), NONE);
}

#[test]
fn overflow_needs_a_capacity() {
    let message = "`overflow` has no effect without a `capacity_factor`; declare both or neither";
    assert_eq!(moe(&[("overflow", None)]), [message]);
    assert_eq!(moe(&[("overflow", None), ("capacity_factor", None)]), NONE);
    assert_eq!(moe(&[("capacity_factor", None)]), NONE);
}

#[test]
fn switch_routing_has_one_active_expert() {
    let with = |routing, active| {
        let mut said =
            moe(&[("routing", text(routing)), ("num_active_experts", Some(Value::Integer(active)))]);
        said.retain(|message| !message.contains("cannot be set yet"));
        said
    };
    assert_eq!(
        with("switch", 2),
        [
            "`num_active_experts` is 2, but `routing = \"switch\"` sends a token to one expert; write 1, or another \
          routing"
        ]
    );
    assert_eq!(with("switch", 1), NONE);
    assert_eq!(with("top-k", 2), NONE);
}

#[test]
fn sides_are_multiples_of_eight() {
    let of = |side| drawing(&[("width", Some(Value::Integer(side)))]);
    assert_eq!(of(500), ["`width` is 500, which is not a multiple of 8; write 496 or 504"]);
    assert_eq!(of(9), ["`width` is 9, which is not a multiple of 8; write 8 or 16"]);
    for side in [8, 16, 512, 1024, 16384] {
        assert_eq!(of(side), NONE);
    }
    // One mistake is told once.
    assert_eq!(of(7), ["`width` is 7, but must be from 8 to 16384"]);
    assert_eq!(
        drawing(&[("height", Some(Value::Integer(513))), ("width", Some(Value::Integer(512)))]),
        ["`height` is 513, which is not a multiple of 8; write 512 or 520"]
    );
}

#[test]
fn a_negative_prompt_needs_guidance() {
    let with = |scale| drawing(&[("negative_prompt", text("rain")), ("guidance_scale", scale)]);
    assert_eq!(
        with(Some(Value::Integer(1))),
        [
            "`negative_prompt` has no effect with `guidance_scale = 1`, which turns guidance off; write a scale above 1, or remove \
          `negative_prompt`"
        ]
    );
    assert_eq!(with(Some(Value::Float(1.5))), NONE);
    assert_eq!(with(None), NONE);
    assert_eq!(drawing(&[("guidance_scale", Some(Value::Float(0.0)))]), NONE);
}

#[test]
fn point_labels_are_of_points() {
    assert_eq!(
        cutting_out(&[("point_labels", None)]),
        ["`point_labels` has no effect without `points`; declare both or neither"]
    );
    assert_eq!(cutting_out(&[("point_labels", None), ("points", None)]), NONE);
    assert_eq!(cutting_out(&[("points", None), ("boxes", None), ("multimask_output", None)]), NONE);
    let with = |labels: &[i128]| {
        let points = Value::Tuples(vec![vec![1.0, 2.0], vec![3.0, 4.5]]);
        cutting_out(&[("points", Some(points)), ("point_labels", Some(Value::IntegerList(labels.to_vec())))])
    };
    assert_eq!(with(&[1, 0]), NONE);
    assert_eq!(with(&[1]), ["`points` has 2, but `point_labels` has 1; write one label for each point"]);
    assert_eq!(with(&[1, 2]), ["`point_labels` has 2, but its numbers must be from 0 to 1"]);
}

#[test]
fn points_are_pairs_and_boxes_have_four_sides() {
    let with = |name, value| cutting_out(&[(name, Some(value))]);
    let of = |length: usize| Value::Tuples(vec![vec![1.0; length]]);
    assert_eq!(with("points", of(2)), NONE);
    assert_eq!(with("boxes", of(4)), NONE);
    assert_eq!(with("boxes", Value::TextList(Vec::new())), NONE);
    assert_eq!(with("points", of(3)), ["`points` has a list of 3 numbers, but each must be a list of 2"]);
    assert_eq!(
        with("points", Value::IntegerList(vec![1, 2])),
        ["`points` must be a list of lists of 2 numbers, but is a list of whole numbers"]
    );
}

#[test]
fn given_context_skips_retrieval() {
    let with = |documents: &[&str]| {
        let documents = documents.iter().map(|document| (*document).to_owned()).collect();
        let parameters =
            [("context", Some(Value::TextList(documents))), ("num_docs", Some(Value::Integer(3)))];
        declared(&arch::RAG, &task::QUESTION_ANSWERING, &parameters)
    };
    assert_eq!(
        with(&["It rained."]),
        ["`num_docs` has no effect with `context`, which skips retrieval; remove one of the two"]
    );
    assert_eq!(with(&[]), NONE);
}

#[test]
fn reranking_needs_a_reranker() {
    let mut request = Request::new(&arch::RAG, &task::DOCUMENT_RETRIEVAL, vec![Hardware::Cpu]);
    request.parameters.push(("rerank".to_owned(), Some(Value::Boolean(true))));
    assert_eq!(
        problems(&request),
        ["`rerank` needs the part `reranker`; write `reranker = ...` with the name of a pipeline that does \
          `text-ranking`"]
    );
    request.parts.push("reranker".to_owned());
    assert_eq!(problems(&request), NONE);
    request.parts.clear();
    request.parameters[0].1 = Some(Value::Boolean(false));
    assert_eq!(problems(&request), NONE);
}
