//! Each rule, broken and kept.
#![allow(missing_docs)]

mod tiny;

use pipeline_schema::checkpoint::Checkpoint;
use pipeline_schema::rules::{Request, check_checkpoint, check_declaration};
use pipeline_schema::{DType, Hardware, Problem, Subject, Value, arch, task};
use serde_json::json;
use tiny::Tiny;

fn request() -> Request {
    Request::new(&arch::MOE, &task::TEXT_GENERATION, vec![Hardware::Cpu])
}

fn with(parameters: &[(&str, Option<Value>)]) -> Request {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Request { parameters, ..request() }
}

fn parameter(name: &str) -> Subject {
    Subject::Parameter(name.to_owned())
}

/// The problems of a declaration, each as subject and message.
fn declared(request: &Request) -> Vec<(Subject, String)> {
    check_declaration(request).into_iter().map(|problem| (problem.subject, problem.message)).collect()
}

/// The problems between a declaration and a checkpoint that problems call `story`.
fn checked(tiny: &Tiny, request: &Request) -> Vec<Problem> {
    let directory = tempfile::tempdir().unwrap();
    tiny.write(directory.path());
    check_checkpoint(&Checkpoint::read_shown(directory.path(), "story").unwrap(), request)
}

/// The only problem between the plain declaration and a checkpoint, as the loader prints it.
fn only(tiny: &Tiny) -> String {
    let problems = checked(tiny, &request());
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn a_sound_declaration_has_no_problem() {
    assert_eq!(declared(&request()), []);
    let everything = Request {
        hardware: vec![Hardware::Cuda, Hardware::Rocm, Hardware::Cpu],
        dtype: Some(DType::BF16),
        ..with(&[
            ("num_active_experts", Some(Value::Integer(8))),
            ("max_new_tokens", Some(Value::Integer(64))),
            ("temperature", Some(Value::Float(0.8))),
            ("top_p", Some(Value::Integer(1))),
            ("do_sample", Some(Value::Boolean(true))),
            ("stop", Some(Value::TextList(vec!["\n".to_owned()]))),
            ("overflow", Some(Value::Text("reroute".to_owned()))),
            ("capacity_factor", None),
        ])
    };
    assert_eq!(declared(&everything), []);
    assert_eq!(checked(&Tiny::new(), &everything), []);
}

#[test]
fn an_architecture_runs() {
    let painter = Request::new(&arch::DIFFUSION, &task::TEXT_TO_IMAGE, vec![Hardware::Cpu]);
    let message = "`diffusion` cannot run yet; this version runs `moe` and `text`";
    assert_eq!(declared(&painter), [(Subject::Arch, message.to_owned())]);
    assert_eq!(declared(&Request { architecture: &arch::TEXT, ..request() }), []);
}

#[test]
fn a_task_belongs_to_its_architecture() {
    for (task, message) in [
        (
            &task::TEXT_TO_IMAGE,
            "`moe` cannot do `text-to-image`, it is a task of `diffusion`; expected one of `text-generation`, \
             `feature-extraction`",
        ),
        (
            &task::TRANSLATION,
            "`moe` cannot do `translation`, it is a task of `text`; expected one of `text-generation`, \
             `feature-extraction`",
        ),
    ] {
        let request = Request { task: Some(task), ..request() };
        assert_eq!(declared(&request), [(Subject::Task, message.to_owned())]);
    }
    static SINGING: pipeline_schema::TaskSpec = pipeline_schema::TaskSpec {
        name: "singing",
        aliases: &[],
        type_name: "Singing",
        description: "sings a text",
    };
    let message = "`moe` cannot do `singing`; expected one of `text-generation`, `feature-extraction`";
    assert_eq!(
        declared(&Request { task: Some(&SINGING), ..request() }),
        [(Subject::Task, message.to_owned())]
    );
    assert_eq!(declared(&Request { task: None, ..request() }), []);
}

#[test]
fn a_task_of_an_architecture_that_does_not_run_is_of_others_too() {
    let painter = Request::new(&arch::DIFFUSION, &task::FEATURE_EXTRACTION, vec![Hardware::Cpu]);
    let message = "`diffusion` cannot do `feature-extraction`, it is a task of `moe`, `text` and `state-space`; \
                   expected one of `text-to-image`, `image-to-image`, `inpainting`, `image-variation`, \
                   `mask-generation`";
    assert_eq!(declared(&painter)[1..], [(Subject::Task, message.to_owned())]);
}

#[test]
fn a_task_runs() {
    let message = "`moe` cannot do `summarization` yet; this version does `text-generation` and \
                   `feature-extraction`";
    let request = Request { task: Some(&task::SUMMARIZATION), ..request() };
    assert_eq!(declared(&request), [(Subject::Task, message.to_owned())]);
}

#[test]
fn a_parameter_can_be_set() {
    let message = "`routing` is a parameter of `moe` that cannot be set yet; remove it";
    assert_eq!(declared(&with(&[("routing", None)])), [(parameter("routing"), message.to_owned())]);
}

#[test]
fn hardware_is_named_and_named_once() {
    let empty = Request { hardware: Vec::new(), ..request() };
    let message = "`hardware` is empty; expected one of `cpu`, `cuda`, `rocm`, or several of them";
    assert_eq!(declared(&empty), [(Subject::Hardware, message.to_owned())]);
    let twice = Request { hardware: vec![Hardware::Cuda, Hardware::Cpu, Hardware::Cuda], ..request() };
    assert_eq!(declared(&twice), [(Subject::Hardware, "hardware `cuda` is named twice".to_owned())]);
}

#[test]
fn all_hardware_computes_in_the_dtype() {
    let half =
        Request { dtype: Some(DType::F16), hardware: vec![Hardware::Cuda, Hardware::Cpu], ..request() };
    let message = "`cpu` cannot compute in `f16`; expected one of `f32`, `bf16`";
    assert_eq!(declared(&half), [(Subject::Dtype, message.to_owned())]);
    assert_eq!(declared(&Request { hardware: vec![Hardware::Cuda], ..half }), []);
}

#[test]
fn a_parameter_is_known_and_declared_once() {
    assert_eq!(
        declared(&with(&[
            ("num_expert", None),
            ("banana", None),
            ("top_k", None),
            ("top_k", None),
            ("top_k", None)
        ])),
        [
            (parameter("num_expert"), unknown("num_expert")),
            (parameter("banana"), unknown("banana")),
            (parameter("top_k"), "parameter `top_k` is declared twice".to_owned()),
        ]
    );
    assert_eq!(
        declared(&with(&[("top_kk", None)])),
        [(parameter("top_kk"), "unknown parameter `top_kk`; did you mean `top_k`?".to_owned())]
    );
}

/// The message for a name that resembles no parameter.
fn unknown(name: &str) -> String {
    let settable = arch::MOE.parameters.iter().filter(|spec| arch::MOE.runs_parameter(spec.name));
    let names: Vec<String> = settable.map(|spec| format!("`{}`", spec.name)).collect();
    format!("unknown parameter `{name}`; expected one of {}", names.join(", "))
}

#[test]
fn a_value_fits_its_parameter() {
    for (name, value, message) in [
        ("top_p", Value::Float(1.5), "`top_p` is 1.5, but must be from 0 to 1"),
        ("top_p", Value::Text("x".to_owned()), "`top_p` must be a number, but is a text"),
        ("top_p", Value::Float(f64::NAN), "`top_p` is NaN, but must be from 0 to 1"),
        ("max_new_tokens", Value::Integer(0), "`max_new_tokens` is 0, but must be at least 1"),
        ("top_k", Value::Float(1.5), "`top_k` must be a whole number, but is a number with a fraction"),
        ("top_k", Value::Integer(-1), "`top_k` is -1, but must be at least 0"),
        ("do_sample", Value::Integer(1), "`do_sample` must be `true` or `false`, but is a whole number"),
        ("stop", Value::Text("x".to_owned()), "`stop` must be a list of texts, but is a text"),
        (
            "stop",
            Value::IntegerList(vec![2]),
            "`stop` must be a list of texts, but is a list of whole numbers",
        ),
    ] {
        assert_eq!(declared(&with(&[(name, Some(value))])), [(parameter(name), message.to_owned())]);
    }
    let overflow = with(&[("overflow", Some(Value::Text("dorp".to_owned()))), ("capacity_factor", None)]);
    let message = "`overflow` is `dorp`; did you mean `drop`?";
    assert_eq!(declared(&overflow), [(parameter("overflow"), message.to_owned())]);
}

#[test]
fn a_sound_checkpoint_has_no_problem() {
    assert_eq!(checked(&Tiny::new(), &request()), []);
    let features = Request { task: Some(&task::FEATURE_EXTRACTION), ..request() };
    assert_eq!(checked(&Tiny::new(), &features), []);
    let no_tokenizer = Tiny { tokenizer: None, ..Tiny::new() };
    assert_eq!(checked(&no_tokenizer, &request()), []);
    let half_as_many_fields =
        Tiny::new().without("rope_parameters").without("sliding_window").without("head_dim");
    assert_eq!(checked(&half_as_many_fields, &request()), []);
}

#[test]
fn an_unknown_model_type_is_told_apart() {
    assert_eq!(
        only(&Tiny::new().with("model_type", json!("mixtrall"))),
        "unknown `model_type` `mixtrall`; did you mean `mixtral`? (story/config.json: model_type)"
    );
}

#[test]
fn a_model_of_another_architecture_is_said_to_be() {
    assert_eq!(
        only(&Tiny::new().with("model_type", json!("llama"))),
        "the checkpoint is a `llama`, of the architecture `text`, not `moe` (story/config.json: model_type = \"llama\")"
    );
    let text = Request { architecture: &arch::TEXT, ..request() };
    let problems = checked(&Tiny::new(), &text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].subject, Subject::Arch);
    assert_eq!(problems[0].message, "the checkpoint is a `mixtral`, of the architecture `moe`, not `text`");
}

#[test]
fn a_parameter_of_another_architecture_is_said_to_be() {
    for (architecture, name, message) in [
        (&arch::TEXT, "num_active_experts", "`num_active_experts` is a parameter of `moe`, not of `text`"),
        (&arch::MOE, "width", "`width` is a parameter of `diffusion`, not of `moe`"),
        (
            &arch::MOE,
            "candidate_labels",
            "`candidate_labels` is a parameter of `text`, `vision-text` and `audio`, not of `moe`",
        ),
    ] {
        let request = Request { architecture, ..with(&[(name, None)]) };
        assert_eq!(declared(&request), [(parameter(name), message.to_owned())]);
    }
}

#[test]
fn a_part_is_one_of_the_architectures() {
    let with = |architecture, part: &str| Request { architecture, parts: vec![part.to_owned()], ..request() };
    let part = |name: &str, message: &str| (Subject::Part(name.to_owned()), message.to_owned());
    assert_eq!(
        declared(&with(&arch::MOE, "generator")),
        [part("generator", "`generator` is a part of `rag`, not of `moe`")]
    );
    assert_eq!(
        declared(&with(&arch::MOE, "critic")),
        [part("critic", "unknown key `critic`; `moe` takes no pipelines as parts")]
    );
    assert_eq!(
        declared(&with(&arch::RAG, "generater"))[1..],
        [part("generater", "unknown part `generater`; did you mean `generator`?")]
    );
    assert_eq!(
        declared(&with(&arch::RAG, "critic"))[1..],
        [part("critic", "unknown part `critic`; expected one of `embedder`, `reranker`, `generator`")]
    );
    assert_eq!(declared(&with(&arch::RAG, "generator")).len(), 1);
}

#[test]
fn the_head_can_do_the_task() {
    let mut base = Tiny::new().with("architectures", json!(["MixtralModel"]));
    base.tensors.retain(|tensor| tensor.name != "lm_head.weight");
    for tensor in &mut base.tensors {
        tensor.name = tensor.name.replace("model.", "");
    }
    assert_eq!(
        only(&base),
        "`text-generation` needs a language model (`...ForCausalLM`), but the checkpoint is a model without a head \
         (story/config.json: architectures = [\"MixtralModel\"])"
    );
    let features = Request { task: Some(&task::FEATURE_EXTRACTION), ..request() };
    assert_eq!(checked(&base, &features), []);
    assert_eq!(checked(&base.without("architectures"), &features), []);
    assert_eq!(
        only(&Tiny::new().with("architectures", json!(["MixtralForDancing"]))),
        "the model class `MixtralForDancing` is not supported; expected one that ends in `ForCausalLM`, \
         `ForSequenceClassification` or `Model` (story/config.json: architectures)"
    );
}

#[test]
fn a_classifier_scores_its_labels() {
    let mut classifier = Tiny::new().with("architectures", json!(["MixtralForSequenceClassification"]));
    *classifier.tensor("lm_head.weight") = tiny::Tensor {
        name: "score.weight".to_owned(),
        dtype: "F32".to_owned(),
        shape: vec![2, 12],
        bytes: vec![0; 96],
    };
    let features = Request { task: Some(&task::FEATURE_EXTRACTION), ..request() };
    assert_eq!(checked(&classifier, &features), []);
    let three = classifier.with("id2label", json!({"0": "a", "1": "b", "2": "c"}));
    assert_eq!(
        checked(&three, &features)[0].message,
        "tensor `score.weight` has shape [2, 12], expected [3, 12]"
    );
}

#[test]
fn no_more_experts_are_active_than_there_are() {
    let problems = checked(&Tiny::new(), &with(&[("num_active_experts", Some(Value::Integer(9)))]));
    let expected = Problem::new(
        parameter("num_active_experts"),
        "`num_active_experts` is 9, but the checkpoint has 8 experts",
    )
    .found_in("story/config.json: num_local_experts = 8");
    assert_eq!(problems, [expected]);
    assert_eq!(
        only(&Tiny::new().with("num_experts_per_tok", json!(9))),
        "`num_experts_per_tok` is 9, but the checkpoint has 8 experts (story/config.json: num_local_experts = 8)"
    );
}

#[test]
fn heads_divide() {
    assert_eq!(
        only(
            &Tiny::new()
                .with("num_attention_heads", json!(5))
                .with("num_key_value_heads", json!(5))
                .with("head_dim", json!(null))
                .with("hidden_size", json!(14))
        ),
        "`num_attention_heads` is 5, which does not divide `hidden_size` 14 (story/config.json: num_attention_heads = 5)"
    );
    assert_eq!(
        only(&Tiny::new().with("num_key_value_heads", json!(4))),
        "`num_key_value_heads` is 4, which does not divide `num_attention_heads` 6 \
         (story/config.json: num_key_value_heads = 4)"
    );
    assert_eq!(
        only(&Tiny::new().with("head_dim", json!(3))),
        "a head has 3 numbers, but rotary embeddings need an even number of them (story/config.json: head_dim = 3)"
    );
}

#[test]
fn the_context_holds_what_is_generated() {
    let problems = checked(&Tiny::new(), &with(&[("max_new_tokens", Some(Value::Integer(65)))]));
    let expected = Problem::new(
        parameter("max_new_tokens"),
        "`max_new_tokens` is 65, but the checkpoint's context is 64 tokens",
    )
    .found_in("story/config.json: max_position_embeddings = 64");
    assert_eq!(problems, [expected]);
    // A scaled rotary embedding reaches further.
    let scaled = Tiny::new().with("rope_parameters", json!({"rope_type": "linear", "factor": 2.0}));
    assert_eq!(checked(&scaled, &with(&[("max_new_tokens", Some(Value::Integer(128)))])), []);
    assert_eq!(checked(&scaled, &with(&[("max_new_tokens", Some(Value::Integer(129)))])).len(), 1);
}

#[test]
fn the_tokenizer_fits_the_vocabulary() {
    let mut larger = Tiny::new();
    larger.tokenizer.as_mut().unwrap()["added_tokens"][0]["id"] = json!(32);
    assert_eq!(
        only(&larger),
        "the tokenizer is of another model: its greatest id is 32, but the model's vocabulary has 32 tokens \
         (story/tokenizer.json; story/config.json: vocab_size = 32)"
    );
    let mut unigram = Tiny::new();
    unigram.tokenizer = Some(json!({"model": {"vocab": vec![json!(["x", -0.5]); 33]}}));
    assert!(only(&unigram).starts_with("the tokenizer is of another model: its greatest id is 32"));
}

#[test]
fn every_tensor_is_there() {
    let mut one = Tiny::new();
    one.tensors.retain(|tensor| tensor.name != "model.norm.weight");
    assert_eq!(only(&one), "the checkpoint lacks tensor `model.norm.weight` [12] (story/model.safetensors)");
    assert_eq!(
        only(&Tiny::new().with("num_hidden_layers", json!(3))),
        "the checkpoint lacks tensors `model.layers.2.input_layernorm.weight` [12], \
         `model.layers.2.self_attn.q_proj.weight` [12, 12], `model.layers.2.self_attn.k_proj.weight` [6, 12] \
         and 28 others (story/model.safetensors)"
    );
    let tied = Tiny::new().with("tie_word_embeddings", json!(true));
    assert_eq!(checked(&tied, &request()), []);
}

#[test]
fn a_configuration_cannot_ask_for_endless_tensors() {
    let endless = Tiny::new().with("num_hidden_layers", json!(1024)).with("num_local_experts", json!(4096));
    assert!(checked(&endless, &request())[0].message.ends_with("and more than 9997 others"));
}

#[test]
fn every_tensor_has_its_shape_and_a_float_dtype() {
    let mut transposed = Tiny::new();
    transposed.tensor("model.layers.1.block_sparse_moe.experts.7.w1.weight").shape.reverse();
    assert_eq!(
        only(&transposed),
        "tensor `model.layers.1.block_sparse_moe.experts.7.w1.weight` has shape [12, 6], expected [6, 12] \
         (story/model.safetensors)"
    );
    for dtype in ["I32", "NEW_32"] {
        let mut other = Tiny::new();
        other.tensor("model.norm.weight").dtype = dtype.to_owned();
        assert_eq!(
            only(&other),
            format!(
                "tensor `model.norm.weight` is stored as `{dtype}`, expected `F32`, `BF16` or `F16` \
                 (story/model.safetensors)"
            )
        );
    }
}

#[test]
fn a_tensor_that_is_not_needed_may_be_anything() {
    let mut more = Tiny::new();
    let ids =
        tiny::Tensor { name: "ids".to_owned(), dtype: "NEW_3".to_owned(), shape: vec![5], bytes: vec![0; 3] };
    more.tensors.push(ids);
    assert_eq!(checked(&more, &request()), []);
}

#[test]
fn all_problems_are_told_at_once() {
    let tiny = Tiny::new().with("num_experts_per_tok", json!(9)).with("num_key_value_heads", json!(4));
    let request = with(&[("max_new_tokens", Some(Value::Integer(1000)))]);
    assert_eq!(checked(&tiny, &request).len(), 3);
}
