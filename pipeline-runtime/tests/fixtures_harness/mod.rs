//! Recorded calls of the reference, and how a model is held against them.
//!
//! A folder of fixtures has `models/`, small checkpoints, and `cases/`, a call each; its `README.md` says how they are
//! laid out.

use std::fs;
use std::path::{Path, PathBuf};

use pipeline_runtime::arch::generation::{LanguageModel, RawGeneration, TokenSequences};
use pipeline_runtime::checkpoint::CheckpointFiles;
use pipeline_runtime::forward::{ForwardOptions, Inputs, Numbers, forward};
use pipeline_runtime::layers::Batch;
use pipeline_runtime::stage::{Architecture, Call, LoadOptions, Parameters};
use pipeline_runtime::task::TextGeneration;
use pipeline_runtime::{DType, Device, DeviceId, Hardware, gpu};
use pipeline_schema::Value as ParameterValue;
use serde_json::{Value, json};

/// One recorded call.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) about: Value,
    pub(crate) inputs: Inputs,
    pub(crate) outputs: Inputs,
    /// The checkpoint, with the case's changes in its `config.json`.
    pub(crate) model: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Case {
    fn read(fixtures: &Path, name: &str) -> Case {
        let folder = fixtures.join("cases").join(name);
        let about: Value = serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let source = fixtures.join("models").join(about["model"].as_str().unwrap());
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

    /// The cases in the folder `fixtures/<fixtures>` that are of a kind: `forward`, `cached` or `generate`.
    pub(crate) fn all(fixtures: &str, kind: &str) -> Vec<Case> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixtures);
        let mut names: Vec<String> = fs::read_dir(fixtures.join("cases"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let cases: Vec<Case> = names
            .iter()
            .map(|name| Case::read(&fixtures, name))
            .filter(|case| case.about["kind"] == kind)
            .collect();
        assert!(!cases.is_empty(), "there are cases of the kind `{kind}`");
        cases
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
        let (error, tolerance) = (relative_error(found, recorded), self.about["tolerance"].as_f64().unwrap());
        assert!(error <= tolerance, "{}: `{name}` is off by {error:.2e}", self.name);
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

    fn asks(&self, option: &str) -> bool {
        self.about["options"][option].as_bool().unwrap_or(false)
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

/// The device of a kind of hardware; `None`, said aloud, where there is none.
pub(crate) fn device(hardware: Hardware) -> Option<Device> {
    match hardware {
        Hardware::Cpu => Some(Device::Cpu),
        hardware => gpu::testing::device(hardware).map(Device::Gpu),
    }
}

/// Every output of every `forward` case agrees in `f32`.
pub(crate) fn check_forward(fixtures: &str, device: DeviceId) {
    for case in Case::all(fixtures, "forward") {
        let options = ForwardOptions {
            device: Some(device),
            dtype: Some(DType::F32),
            quantization: None,
            output_hidden_states: case.asks("output_hidden_states"),
            output_router_logits: case.asks("output_router_logits"),
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
}

/// With weights in `bf16`, the logits are nearer to those in `f64` than the reference's in `bf16`.
pub(crate) fn check_bf16(fixtures: &str, device: DeviceId) {
    let mut checked = 0;
    for case in Case::all(fixtures, "forward") {
        let Some(bound) = case.about["reference_bf16_error"].as_f64() else { continue };
        let options = ForwardOptions { device: Some(device), ..ForwardOptions::default() };
        let outputs = forward(&case.model, &case.inputs, &options).unwrap();
        let (_, logits) = outputs.iter().find(|(name, _)| name == "logits").unwrap();
        let error = relative_error(&logits.to_vec().unwrap(), case.recorded("logits").1);
        assert!(error <= bound, "{}: off by {error:.2e}, the reference in bf16 by {bound:.2e}", case.name);
        checked += 1;
    }
    assert!(checked > 0, "there are cases in bf16");
}

/// A cache that grows step by step gives what the reference's gives, and, where that is the same, what the whole forward
/// gives. `load` reads a model in `f32` with the policy that its checkpoint was trained with.
pub(crate) fn check_cached_decoding<M: LanguageModel>(
    fixtures: &str,
    load: impl Fn(&CheckpointFiles) -> (M, M::Policy),
) {
    for case in Case::all(fixtures, "cached") {
        let (model, policy) = load(&CheckpointFiles::open(&case.model).unwrap());
        let rows = case.rows("input_ids");
        let mask = case.inputs.get("attention_mask").is_some().then(|| case.rows("attention_mask"));
        let tokens = rows[0].len();
        let prefill = case.about["prefill"].as_u64().unwrap() as usize;
        let mut cache = model.cache(rows.len(), tokens).unwrap();
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
            let embedded = model.embed(&mut batch, &ids).unwrap();
            let (hidden, _) = model.pass(embedded, &batch, &mut cache, &policy).unwrap();
            let logits = model.logits(&hidden).unwrap();
            let width = logits.rows_and_width().1;
            for (row, logits) in logits.to_vec().unwrap().chunks_exact(step * width).enumerate() {
                steps[row].extend_from_slice(logits);
            }
            read += step;
        }
        let steps = steps.concat();
        let shape = case.recorded("step_logits").0.to_vec();
        case.assert_close("step_logits", &shape, &steps);
        if case.outputs.get("logits").is_some() {
            case.assert_close("logits", &shape, &steps);
        }
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
pub(crate) fn check_greedy_continuations<A, R>(fixtures: &str, device: &Device)
where
    A: Architecture<TextGeneration, Prepared = TokenSequences, Raw = Vec<RawGeneration<R>>, Parts = ()>,
{
    for case in Case::all(fixtures, "generate") {
        let files = CheckpointFiles::open(&case.model).unwrap();
        write_tokenizer(&case.model, files.facts().model().unwrap().vocab_size().unwrap());
        let config = case.model.join("generation_config.json");
        let mut settings: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        for (name, value) in case.about["generation"].as_object().unwrap() {
            settings[name] = value.clone();
        }
        fs::write(&config, settings.to_string()).unwrap();
        let options =
            LoadOptions { device: device.clone(), dtype: None, quantization: None, progress: false };
        let model = A::load(&files, (), &options).unwrap();
        let parameters = A::parameters(&model);
        let greedy = ("do_sample", ParameterValue::Boolean(false));
        assert!(parameters.values().contains(&greedy), "{}: continuations are greedy", case.name);
        let call: Call<'_, A, TextGeneration> =
            Call { model: &model, parameters, hardware: device.hardware() };

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
        let plan = A::route(&call, &prepared).unwrap();
        let raw = A::infer(&call, prepared, plan).unwrap();
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

/// The same tests on each kind of hardware; those of a GPU are skipped, aloud, where there is none. `$load` reads a
/// model in `f32` to a device, with the policy of its checkpoint.
macro_rules! reference_tests {
    ($fixtures:literal, $architecture:ty, $load:path) => {
        reference_tests! { $fixtures, $architecture, $load,
            cpu: Hardware::Cpu, gpu_cuda: Hardware::Cuda, gpu_rocm: Hardware::Rocm }
    };
    ($fixtures:literal, $architecture:ty, $load:path, $($module:ident: $hardware:expr),*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn every_forward_case_agrees_in_f32() {
                let Some(_) = fixtures_harness::device($hardware) else { return };
                fixtures_harness::check_forward($fixtures, $hardware.into());
            }

            #[test]
            fn bf16_is_nearer_to_f64_than_the_reference_in_bf16() {
                let Some(_) = fixtures_harness::device($hardware) else { return };
                fixtures_harness::check_bf16($fixtures, $hardware.into());
            }

            #[test]
            fn cached_decoding_agrees_step_by_step() {
                let Some(device) = fixtures_harness::device($hardware) else { return };
                fixtures_harness::check_cached_decoding($fixtures, |files| $load(files, &device));
            }

            #[test]
            fn greedy_continuations_agree_token_for_token() {
                let Some(device) = fixtures_harness::device($hardware) else { return };
                fixtures_harness::check_greedy_continuations::<$architecture, _>($fixtures, &device);
            }
        }
    )*};
}

pub(crate) use reference_tests;
