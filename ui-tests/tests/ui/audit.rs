//! Every rule beside the case of `fail/` that shows it: what it says, and the token it marks.
//!
//! Which rules there are is read from the sources, so that a rule without a case is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A case of `fail/`, what is said there, and what is marked.
type Shown = (&'static str, &'static str, &'static str);

/// The rules that macro and loader share, by the name of their function.
const SHARED: &[(&str, &[Shown])] = &[
    (
        "architecture_runs",
        &[(
            "arch_not_yet",
            "`diffusion` cannot run yet; this version runs `moe` and `text`",
            "\"diffusion\"",
        )],
    ),
    (
        "task_belongs_to_architecture",
        &[("task_of_another_arch", "it is a task of `diffusion`", "\"text-to-image\"")],
    ),
    ("task_runs", &[("task_not_yet", "`moe` cannot do `summarization` yet", "\"summarization\"")]),
    ("hardware_is_named", &[("hardware_empty", "`hardware` is empty", "[]")]),
    ("hardware_is_named_once", &[("hardware_twice", "hardware `rocm` is named twice", "amd")]),
    ("hardware_computes_in_dtype", &[("dtype_hardware", "`cpu` cannot compute in `f16`", "f16")]),
    (
        "parameters_are_known",
        &[
            ("param_unknown", "did you mean `temperature`?", "temprature"),
            ("param_no_word", "unknown parameter `wit`; expected one of", "wit"),
            ("param_of_another_arch", "`width` is a parameter of `diffusion`, not of `moe`", "width"),
            ("param_of_several_archs", "of `text`, `vision-text` and `audio`", "candidate_labels"),
        ],
    ),
    ("parameters_can_be_set", &[("param_not_yet", "cannot be set yet; remove it", "\"switch\"")]),
    // A field has one name: only the loader can meet it.
    ("parameters_are_declared_once", &[]),
    (
        "values_fit_their_parameters",
        &[
            ("param_default_out_of_range", "must be from 0 to 100", "-0.5"),
            ("param_default_fraction", "must be a whole number", "2.5"),
            ("param_default_wrong_type", "must be a number, but is a text", "\"hot\""),
            ("param_default_unknown_choice", "`overflow` is `dorp`; did you mean `drop`?", "\"dorp\""),
            ("param_tuple_length", "each must be a list of 2", "[[100, 200, 300]]"),
        ],
    ),
    ("sides_are_multiples_of_eight", &[("contradiction_width", "write 496 or 504", "500")]),
    (
        "parts_are_known",
        &[
            ("part_of_moe", "`generator` is a part of `rag`, not of `moe`", "generator"),
            ("part_of_nothing", "`moe` takes no pipelines as parts", "critic"),
            ("part_unknown_of_rag", "did you mean `generator`?", "generater"),
        ],
    ),
    // Only an architecture of the user's own needs one so far.
    ("needed_parts_are_declared", &[("part_missing", "needs the part `generator`", "Jury")]),
    (
        "parameters_are_of_the_task",
        &[
            ("contradiction_task", "`temperature` has no effect on `feature-extraction`", "0.8"),
            ("contradiction_strength", "`image-to-image` and `inpainting`", "0.5"),
        ],
    ),
    (
        "greedy_decoding_has_nothing_to_sample",
        &[("contradiction_greedy", "no effect with `do_sample = false`", "0.8")],
    ),
    ("overflow_needs_a_capacity", &[("contradiction_overflow", "without a `capacity_factor`", "\"drop\"")]),
    ("switch_routing_has_one_active_expert", &[("contradiction_switch", "sends a token to one expert", "2")]),
    (
        "negative_prompt_needs_guidance",
        &[("contradiction_negative_prompt", "write a scale above 1", "\"rain\"")],
    ),
    ("point_labels_need_points", &[("contradiction_point_labels", "no effect without `points`", "[1, 0]")]),
    ("every_point_has_a_label", &[("contradiction_points", "write one label for each point", "[1]")]),
    ("given_context_skips_retrieval", &[("contradiction_context", "no effect with `context`", "3")]),
    ("reranking_needs_a_reranker", &[("contradiction_rerank", "needs the part `reranker`", "true")]),
    (
        "model_type_belongs_to_architecture",
        &[("model_of_another_arch", "of the architecture `text`, not `moe`", "moe")],
    ),
    ("head_can_do_the_task", &[("model_without_head", "needs a language model", "\"text-generation\"")]),
    (
        "enough_experts",
        &[("model_config_contradiction", "`num_experts_per_tok` is 5", "\"checkpoints/five-of-four\"")],
    ),
    (
        "enough_experts_for_the_parameter",
        &[
            ("model_too_few_experts", "but the checkpoint has 4 experts", "9"),
            ("snapshot_too_few_experts", "but the checkpoint has 4 experts", "9"),
        ],
    ),
    (
        "heads_divide_the_hidden_size",
        &[("model_heads", "does not divide `hidden_size` 8", "\"checkpoints/three-heads\"")],
    ),
    ("head_dim_is_even", &[("model_odd_heads", "need an even number of them", "\"checkpoints/odd-heads\"")]),
    (
        "key_value_heads_divide_heads",
        &[(
            "model_key_value_heads",
            "does not divide `num_attention_heads` 4",
            "\"checkpoints/three-key-value-heads\"",
        )],
    ),
    ("context_holds_new_tokens", &[("model_context", "the checkpoint's context is 64 tokens", "100")]),
    (
        "tokenizer_fits_vocabulary",
        &[("model_tokenizer", "its greatest id is 19", "\"checkpoints/large-tokenizer\"")],
    ),
    (
        "check_tensors",
        &[
            ("model_tensor_missing", "the checkpoint lacks tensor", "\"checkpoints/no-router\""),
            ("model_tensor_shape", "expected [4, 8]", "\"checkpoints/wrong-shape\""),
            ("model_tensor_dtype", "is stored as `I16`", "\"checkpoints/integers\""),
        ],
    ),
];

/// The rules of the macro, by file and function; as many cases as the function makes errors, and more where one
/// error has several forms.
const OF_MACRO: &[(&str, &[Shown])] = &[
    (
        "parse/arguments.rs: word",
        &[
            ("arch_not_a_word", "as in `arch = \"moe\"`", "1"),
            ("hardware_not_a_word", "as in `hardware = [cuda, rocm, cpu]`", "1"),
        ],
    ),
    (
        "parse/arguments.rs: model",
        &[("model_not_quoted", "the path of a directory, in quotes", "checkpoints")],
    ),
    (
        "parse/arguments.rs: crate_path",
        &[
            ("crate_not_a_path", "write `crate = path::to::pipelines`", "1"),
            ("crate_not_a_path_in_quotes", "write `crate = path::to::pipelines`", "\"my pipelines\""),
            ("crate_an_expression", "write `crate = path::to::pipelines`", "[pipelines]"),
        ],
    ),
    (
        "parse/arguments.rs: function",
        &[("override_not_a_path", "write `format = path::to::function`", "|raw| raw")],
    ),
    (
        "parse/arguments.rs: custom",
        &[
            ("custom_without_stages", "write `custom(format)`", "custom"),
            ("custom_empty", "`custom()` names no stage", "custom"),
            ("custom_not_words", "`custom` takes the names of stages", "1"),
        ],
    ),
    (
        "parse/item.rs: not_a_struct",
        &[
            ("on_enum", "this is an enum", "Storyteller"),
            ("on_union", "this is a union", "Storyteller"),
            ("on_function", "this is a function", "tell"),
            ("on_impl", "this is an impl block", "impl"),
            ("on_trait", "this is a trait", "Storyteller"),
            ("on_module", "this is a module", "storyteller"),
            ("on_type", "this is a type alias", "Storyteller"),
            ("on_constant", "this is another item", "const STORYTELLER: () = ();"),
        ],
    ),
    ("parse/item.rs: parse", &[("param_twice", "`#[param]` is given twice", "param")]),
    ("parse/items.rs: parse", &[("key_missing", "expected `key = value`", "= cpu")]),
    (
        "parse/keys.rs: value",
        &[
            ("value_not_readable", "write `task = \"text-generation\"`", "text generation"),
            ("key_without_value", "`task` needs a value", "task"),
            ("crate_without_value", "`crate` needs a value", "crate"),
            ("param_key_without_value", "`default` needs a value", "default"),
        ],
    ),
    (
        "parse/keys.rs: check_unknown",
        &[
            ("key_unknown", "did you mean `hardware`?", "hardwares"),
            ("param_key_unknown", "did you mean `default`?", "defualt"),
        ],
    ),
    ("parse/keys.rs: single", &[("key_twice", "`task` is given twice; keep one", "task")]),
    (
        "parse/keys.rs: read",
        &[
            ("value_without_key", "as in `arch = ...`", "\"moe\""),
            ("param_value_without_key", "as in `default = ...`", "0.8"),
        ],
    ),
    (
        "parse/param.rs: parse",
        &[
            ("param_name_value", "write `#[param(default = ...)]`", "0.8"),
            ("param_range_open", "a range with both ends", "0.1.."),
            ("param_range_not_literal", "write a literal: a number", "LOW"),
            ("param_range_half_open", "write `..=`", ".."),
        ],
    ),
    (
        "validate/model.rs: read",
        &[
            ("model_missing", "run `pipelines prepare`", "\"checkpoints/missing\""),
            ("model_above", "did you mean `../checkpoints/above`?", "\"checkpoints/above\""),
            ("model_truncated", "the file is truncated", "\"checkpoints/truncated\""),
            ("model_shard_missing", "1 of 1 shards missing", "\"checkpoints/missing-shard\""),
            ("model_config_malformed", "malformed JSON", "\"checkpoints/malformed-config\""),
            ("model_type_unknown", "did you mean `mixtral`?", "\"checkpoints/unknown-type\""),
            ("snapshot_malformed", "the snapshot is malformed", "\"checkpoints/malformed-snapshot\""),
        ],
    ),
    (
        "validate/model.rs: root",
        &[
            ("model_empty", "the path of the model is empty", "\"\""),
            ("model_absolute", "the path of the model is absolute", "\"/opt/models/storyteller\""),
            // Without `CARGO_MANIFEST_DIR`, which cargo always sets: no case.
            ("model_absolute", "or load it with `from_pretrained`", "\"/opt/models/storyteller\""),
        ],
    ),
    ("validate/params.rs: unnamed", &[("param_in_tuple_struct", "with named fields", "param")]),
    (
        "validate/params.rs: possible_type",
        &[
            ("param_type_impossible", "expected one of `f32`, `f64`", "String"),
            ("param_type_integer", "cannot be set from `i32`", "Option<i32>"),
        ],
    ),
    (
        "validate/params.rs: default_or_option",
        &[("param_default_missing", "write `#[param(default = 0.7)]`", "param")],
    ),
    (
        "validate/params.rs: literal",
        &[
            ("param_default_not_literal", "write a literal: a whole number", "40 + 10"),
            ("param_list_not_literal", "a list of texts, as `[\"...\"]`", "vec![\"END\".to_owned()]"),
        ],
    ),
    (
        "validate/params.rs: possible_range",
        &[
            ("param_range_of_boolean", "is no number; remove `range`", "0..=1"),
            ("param_range_outside", "in this range `temperature` is 500", "500"),
            ("param_range_reversed", "write the smaller end first", "1.5..=0.1"),
        ],
    ),
    (
        "validate/params.rs: default_in_range",
        &[("param_range_excludes_default", "is declared to be from 0.1 to 1.5", "2.0")],
    ),
    (
        "validate/parts.rs: parts",
        &[
            ("part_twice", "`generator` is given twice", "generator"),
            ("part_of_moe", "did you mean `task`?", "taks"),
        ],
    ),
    ("validate/shared.rs: check", &[("all_at_once", "but the checkpoint has 4 experts", "9")]),
    ("validate/stages.rs: stages", &[("custom_twice", "`format` is custom twice", "format")]),
    ("validate/stages.rs: custom_stage", &[("stage_unknown", "did you mean `format`?", "formta")]),
    (
        "validate/stages.rs: function_or_custom",
        &[("override_and_custom", "also in `custom(format)`", "format")],
    ),
    (
        "validate/words.rs: architecture",
        &[
            ("arch_missing", "`Storyteller` declares no architecture", "Storyteller"),
            ("arch_not_near", "or the path of a type of your own", "\"stable-diffusion\""),
            ("arch_unknown", "did you mean `moe`?", "\"moee\""),
            ("arch_misspelt_not_yet", "`diffusion` cannot run yet", "\"difusion\""),
        ],
    ),
    ("validate/words.rs: task", &[("own_architecture_without_task", "has no default task", "Bags")]),
    (
        "validate/words.rs: named_task",
        &[
            ("own_task_unknown", "did you mean `text-classification`?", "\"text-clasification\""),
            ("own_task_not_near", "or the path of a task of your own", "singing"),
            ("task_not_near", "expected one of `text-generation`, `feature-extraction`", "singing"),
            ("task_of_arch_not_yet_unknown", "expected one of `image-classification`", "\"painting\""),
            ("task_unknown", "did you mean `text-generation`?", "\"text-generatoin\""),
            ("task_misspelt_not_yet", "`moe` cannot do `summarization` yet", "\"sumarization\""),
        ],
    ),
    (
        "validate/words.rs: hardware",
        &[
            ("hardware_unknown", "did you mean `cuda`?", "cuad"),
            ("hardware_foreign", "hardware `metal` is not supported", "metal"),
            ("hardware_vague", "does not say whose", "gpu"),
            ("hardware_path", "expected one of `cpu`, `cuda`, `rocm`", "Hardware::Cuda"),
        ],
    ),
    (
        "validate/words.rs: dtype",
        &[
            ("dtype_unknown", "did you mean `bf16`?", "\"b16\""),
            ("dtype_path", "unknown dtype `DType::F8`", "DType::F8"),
        ],
    ),
];

/// The traits whose absence the compiler explains.
const TRAITS: &[(&str, &[Shown])] = &[
    (
        "Architecture",
        &[("own_architecture_not_implemented", "`Bags` cannot do the task `FeatureExtraction`", "Bags")],
    ),
    ("Stepwise", &[("stream_of_one_step", "does not produce the output of `FeatureExtraction`", "stream")]),
    ("Declaration", &[("not_a_pipeline", "`Storyteller` is not a pipeline", "Storyteller")]),
    (
        "Declared",
        &[
            ("not_declared", "is not a pipeline whose fields all have a default", "Storyteller"),
            ("field_without_default", "the trait `Default` is not implemented for `Diary`", "Storyteller"),
            ("part_without_default", "the trait `Default` is not implemented for `Source`", "Storyteller"),
        ],
    ),
    ("Preprocess", &[("custom_preprocess_missing", "does not implement `Preprocess`", "preprocess")]),
    ("Route", &[("custom_route_missing", "does not implement `Route`", "route")]),
    ("Infer", &[("custom_infer_missing", "does not implement `Infer`", "infer")]),
    ("Format", &[("custom_format_missing", "does not implement `Format`", "format")]),
    ("InfersByDefault", &[("stream_of_overridden_infer", "overrides `infer`", "stream")]),
    ("LoadableAsPart", &[("part_not_a_pipeline", "cannot be a part of a pipeline", "Storyteller")]),
    ("PartTask", &[("part_of_task_of_no_part", "of the task `Vote` cannot be a part", "Court")]),
    ("IntoParameter", &[("param_type_unknown", "cannot set a parameter of type `usize`", "Option<Experts>")]),
];

/// Every rule is in the tables, and every case shows what its rule says on the token at fault.
pub(super) fn every_rule_has_its_case() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace");
    let source = |path: &str| {
        let path = workspace.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let rules = source("pipeline-macros/schema/src/rules/mod.rs");
    let found: BTreeMap<String, usize> = shared_rules(&rules).map(|rule| (rule, 0)).collect();
    complete(SHARED, &found);

    let mut found = BTreeMap::new();
    for folder in ["parse", "validate"] {
        let folder_path = workspace.join("pipeline-macros/src").join(folder);
        for file in fs::read_dir(folder_path).expect("the folder is there") {
            let name = file.expect("it can be listed").file_name().into_string().expect("a name in UTF-8");
            let text = source(&format!("pipeline-macros/src/{folder}/{name}"));
            errors_of_functions(&format!("{folder}/{name}"), &text, &mut found);
        }
    }
    complete(OF_MACRO, &found);

    let mut found = BTreeMap::new();
    for file in ["stage", "parts", "declared", "task"] {
        let text = source(&format!("pipeline-runtime/src/{file}.rs"));
        found.extend(explained_traits(&text).map(|name| (name, 1)));
    }
    complete(TRAITS, &found);

    for (rule, cases) in SHARED.iter().chain(OF_MACRO).chain(TRAITS) {
        for (case, says, marked) in *cases {
            let answer = source(&format!("ui-tests/tests/fail/{case}.stderr"));
            let errors: Vec<&str> = answer.split("\n\n").collect();
            let shows = |error: &&str| error.contains(says) && marks(error) == Some(marked);
            assert!(errors.iter().any(shows), "{rule}: {case}: {says:?} on {marked:?}\n{answer}");
        }
    }
}

/// The table has what there is, nothing else, and as many cases for each as it needs.
fn complete(table: &[(&str, &[Shown])], found: &BTreeMap<String, usize>) {
    for (rule, needed) in found {
        let cases = table.iter().find(|(name, _)| name == rule).map(|(_, cases)| cases.len());
        let cases = cases.unwrap_or_else(|| panic!("`{rule}` is not in the table"));
        assert!(cases >= *needed, "`{rule}` makes {needed} errors, but the table has {cases} cases");
    }
    for (rule, _) in table {
        assert!(found.contains_key(*rule), "`{rule}` is in the table and nowhere else");
    }
}

/// The functions that the rules are: `problems.extend(declaration::hardware_is_named(request));`.
fn shared_rules(source: &str) -> impl Iterator<Item = String> {
    let code = source.split("#[cfg(test)]").next().expect("there is a first part");
    let calls = code.split(['(', ' ', '=']).filter(|word| word.contains("::"));
    let modules = ["declaration", "contradictions", "checkpoint", "tensors"];
    calls.filter_map(move |call| {
        let (module, name) = call.trim().split_once("::")?;
        let is_rule = modules.contains(&module) && name.chars().all(|c| c == '_' || c.is_ascii_lowercase());
        is_rule.then(|| name.to_owned())
    })
}

/// How many errors each function of a file makes.
fn errors_of_functions(file: &str, source: &str, found: &mut BTreeMap<String, usize>) {
    let mut function = String::new();
    let code = source.split("#[cfg(test)]").next().expect("there is a first part");
    for line in code.lines() {
        if let Some((before, rest)) = line.split_once("fn ")
            && matches!(before.trim(), "" | "pub(crate)" | "pub(super)")
        {
            function = rest.split(['(', '<']).next().expect("a function has a name").to_owned();
        }
        let made = ["errors.push(", "Error::new_spanned("].map(|made| line.matches(made).count());
        let made = made[0] + made[1];
        if made > 0 {
            *found.entry(format!("{file}: {function}")).or_default() += made;
        }
    }
}

/// The traits under `#[diagnostic::on_unimplemented(...)]`.
fn explained_traits(source: &str) -> impl Iterator<Item = String> {
    source.split("#[diagnostic::on_unimplemented(").skip(1).map(|after| {
        let (_, name) = after.split_once("pub trait ").expect("it stands on a trait");
        let end = name.find(|c: char| !c.is_alphanumeric()).expect("a trait has a body");
        name[..end].to_owned()
    })
}

/// What an error marks: what stands above the first carets.
fn marks(error: &str) -> Option<&str> {
    let lines: Vec<&str> = error.lines().collect();
    let below = lines.iter().position(|line| line.contains('^'))?;
    let carets = lines[below];
    let start = carets.find('^')?;
    let length = carets[start..].chars().take_while(|c| *c == '^').count();
    lines[below - 1].get(start..start + length)
}
