//! Mixtral agrees with the recorded reference (`fixtures/mixtral/README.md`).

use std::fs;
use std::path::{Path, PathBuf};

use pipeline_runtime::arch::Moe;
use pipeline_runtime::arch::moe::{GenerationPlan, TokenSequences};
use pipeline_runtime::checkpoint::CheckpointFiles;
use pipeline_runtime::forward::{ForwardOptions, Inputs, Numbers, forward};
use pipeline_runtime::layers::{Batch, Weights};
use pipeline_runtime::models::mixtral::Mixtral;
use pipeline_runtime::stage::{Architecture, Call, LoadOptions};
use pipeline_runtime::task::TextGeneration;
use pipeline_runtime::{DType, Device, Hardware};
use pipeline_schema::models::ModelConfig;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mixtral")
}

/// One recorded call.
struct Case {
    name: String,
    about: Value,
    inputs: Inputs,
    outputs: Inputs,
    model: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Case {
    fn read(name: &str) -> Case {
        let folder = fixtures().join("cases").join(name);
        let about: Value = serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let source = fixtures().join("models").join(about["model"].as_str().unwrap());
        for file in fs::read_dir(source).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), scratch.path().join(file.file_name())).unwrap();
        }
        let config = scratch.path().join("config.json");
        let mut fields: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        for (field, value) in about["config"].as_object().unwrap() {
            fields[field] = value.clone();
        }
        fs::write(config, fields.to_string()).unwrap();
        Case {
            name: name.to_owned(),
            inputs: Inputs::read(&folder.join("inputs.safetensors")).unwrap(),
            outputs: Inputs::read(&folder.join("outputs.safetensors")).unwrap(),
            model: scratch.path().to_owned(),
            about,
            _scratch: scratch,
        }
    }

    fn all(kind: &str) -> Vec<Case> {
        let mut names: Vec<String> = fs::read_dir(fixtures().join("cases"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let cases: Vec<Case> =
            names.iter().map(|name| Case::read(name)).filter(|case| case.about["kind"] == kind).collect();
        assert!(!cases.is_empty(), "there are cases of the kind `{kind}`");
        cases
    }

    fn tolerance(&self) -> f64 {
        self.about["tolerance"].as_f64().unwrap()
    }

    fn recorded(&self, name: &str) -> (&[usize], &[f32]) {
        let tensor = self.outputs.get(name).unwrap_or_else(|| panic!("{}: no `{name}`", self.name));
        match &tensor.numbers {
            Numbers::Floats(numbers) => (&tensor.shape, numbers),
            Numbers::Integers(_) => panic!("{}: `{name}` has whole numbers", self.name),
        }
    }

    fn assert_close(&self, name: &str, shape: &[usize], found: &[f32]) {
        let (recorded_shape, recorded) = self.recorded(name);
        assert_eq!(shape, recorded_shape, "{}: shape of `{name}`", self.name);
        let error = relative_error(found, recorded);
        assert!(error <= self.tolerance(), "{}: `{name}` is off by {error:.2e}", self.name);
    }

    fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        let tensor = self.inputs.get(name).or_else(|| self.outputs.get(name)).unwrap();
        match &tensor.numbers {
            Numbers::Integers(numbers) => {
                numbers.chunks_exact(tensor.shape[1]).map(<[i64]>::to_vec).collect()
            }
            Numbers::Floats(_) => panic!("{}: `{name}` has fractions", self.name),
        }
    }
}

/// The largest difference as a share of the recorded standard deviation, or of the value itself where it is one.
fn relative_error(found: &[f32], recorded: &[f32]) -> f64 {
    let count = recorded.len() as f64;
    let mean = recorded.iter().map(|&number| f64::from(number)).sum::<f64>() / count;
    let variance = recorded.iter().map(|&number| (f64::from(number) - mean).powi(2)).sum::<f64>() / count;
    let scale = if recorded.len() > 1 { variance.sqrt() } else { mean.abs() };
    let largest = found
        .iter()
        .zip(recorded)
        .map(|(&found, &recorded)| (f64::from(found) - f64::from(recorded)).abs())
        // A NaN must not pass as small.
        .fold(0.0, |largest: f64, difference| if difference <= largest { largest } else { difference });
    largest / scale
}

fn asked(about: &Value, option: &str) -> bool {
    about["options"][option].as_bool().unwrap_or(false)
}

fn check_forward(case: &Case, dtype: Option<DType>) {
    let options = ForwardOptions {
        dtype,
        output_hidden_states: asked(&case.about, "output_hidden_states"),
        output_router_logits: asked(&case.about, "output_router_logits"),
        ..ForwardOptions::default()
    };
    let outputs =
        forward(&case.model, &case.inputs, &options).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let mut compared = 0;
    for (name, tensor) in &outputs {
        if case.outputs.get(name).is_some() {
            case.assert_close(name, tensor.shape(), &tensor.to_vec().unwrap());
            compared += 1;
        }
    }
    let missing = case.outputs.names().filter(|name| outputs.iter().all(|(output, _)| output != name));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "{}: outputs that are not given", case.name);
    assert!(compared > 0, "{}: nothing was compared", case.name);
}

#[test]
fn every_forward_case_agrees_in_f32() {
    for case in Case::all("forward") {
        check_forward(&case, Some(DType::F32));
    }
}

#[test]
fn bf16_weights_in_place_are_nearer_to_f64_than_the_reference_in_bf16() {
    let case = Case::read("bf16");
    let options = ForwardOptions::default();
    let outputs = forward(&case.model, &case.inputs, &options).unwrap();
    let (_, logits) = outputs.iter().find(|(name, _)| name == "logits").unwrap();
    let error = relative_error(&logits.to_vec().unwrap(), case.recorded("logits").1);
    let bound = case.about["reference_bf16_error"].as_f64().unwrap();
    assert!(error <= bound, "off by {error:.2e}, the reference in bf16 by {bound:.2e}");
}

fn load(model: &Path) -> Mixtral {
    let files = CheckpointFiles::open(model).unwrap();
    let ModelConfig::Mixtral(config) = files.facts().model().unwrap() else { panic!("a Mixtral") };
    let head = files.facts().head().unwrap();
    Mixtral::load(&Weights::new(&files, Some(DType::F32)), config, head, |_, _| {}).unwrap()
}

/// A cache that grows step by step gives what the whole forward gives.
#[test]
fn cached_decoding_agrees_step_by_step() {
    for case in Case::all("cached") {
        let model = load(&case.model);
        let policy = model.routing_policy();
        let rows = case.rows("input_ids");
        let mask = case.inputs.get("attention_mask").is_some().then(|| case.rows("attention_mask"));
        let tokens = rows[0].len();
        let prefill = case.about["prefill"].as_u64().unwrap() as usize;
        let mut cache = model.cache(rows.len());
        let mut steps = vec![Vec::new(); rows.len()];
        let mut read = 0;
        while read < tokens {
            let step = if read == 0 { prefill } else { 1 };
            let mut batch = Batch::default();
            let mut ids = Vec::new();
            for (slot, row) in rows.iter().enumerate() {
                batch.push(slot, read, step);
                ids.extend(row[read..read + step].iter().map(|&id| id as u32));
                batch.sequences[slot].key_mask = mask
                    .as_ref()
                    .map(|mask| mask[slot][..read + step].iter().map(|&seen| seen != 0).collect());
            }
            let embedded = model.embed(&ids).unwrap();
            let forward = model.forward(embedded, &batch, &mut cache, &policy, false).unwrap();
            let logits = model.logits(&forward.last_hidden_state).unwrap();
            let width = logits.rows_and_width().1;
            for (row, logits) in logits.to_vec().unwrap().chunks_exact(step * width).enumerate() {
                steps[row].extend_from_slice(logits);
            }
            read += step;
        }
        let steps = steps.concat();
        let (shape, _) = case.recorded("step_logits");
        let shape = shape.to_vec();
        case.assert_close("step_logits", &shape, &steps);
        case.assert_close("logits", &shape, &steps);
    }
}

/// A tokenizer with a word per token: generation needs one, and the fixtures are of tokens.
fn write_tokenizer(directory: &Path, vocabulary: usize) {
    let vocabulary: serde_json::Map<String, Value> =
        (0..vocabulary).map(|token| (format!("w{token}"), json!(token))).collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    });
    fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// Prompts of unequal length in one batch are continued token for token as the reference does.
#[test]
fn greedy_continuations_agree_token_for_token() {
    for case in Case::all("generate") {
        write_tokenizer(&case.model, 99);
        let config = case.model.join("generation_config.json");
        let mut settings: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        for (name, value) in case.about["generation"].as_object().unwrap() {
            settings[name] = value.clone();
        }
        fs::write(&config, settings.to_string()).unwrap();
        let files = CheckpointFiles::open(&case.model).unwrap();
        let options = LoadOptions { device: Device::Cpu, dtype: None, progress: false };
        let model = <Moe as Architecture<TextGeneration>>::load(&files, (), &options).unwrap();
        let parameters = <Moe as Architecture<TextGeneration>>::parameters(&model);
        assert!(!parameters.do_sample, "{}: continuations are greedy", case.name);
        let call: Call<'_, Moe, TextGeneration> = Call { model: &model, parameters, hardware: Hardware::Cpu };

        let prompts: Vec<Vec<u32>> = case
            .rows("input_ids")
            .iter()
            .zip(case.rows("attention_mask"))
            .map(|(ids, mask)| {
                ids.iter().zip(mask).filter(|(_, seen)| *seen != 0).map(|(&id, _)| id as u32).collect()
            })
            .collect();
        let columns = case.rows("input_ids")[0].len();
        let prepared = TokenSequences { continues: vec![true; prompts.len()], sequences: prompts.clone() };
        let plan: GenerationPlan = Moe::route(&call, &prepared).unwrap();
        let raw = Moe::infer(&call, prepared, plan).unwrap();
        for (row, (found, recorded)) in raw.iter().zip(case.rows("sequences")).enumerate() {
            let recorded: Vec<u32> = recorded[columns..].iter().map(|&id| id as u32).collect();
            let (generated, padding) = recorded.split_at(found.tokens.len());
            assert_eq!(found.tokens, generated, "{}: row {row}", case.name);
            // What comes after the end of a text is padding in the reference.
            assert!(
                padding.windows(2).all(|pair| pair[0] == pair[1]),
                "{}: row {row} ended early",
                case.name
            );
            assert_eq!(found.prompt, prompts[row]);
        }
    }
}
