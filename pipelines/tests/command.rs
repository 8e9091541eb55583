//! The `pipelines` command as a user calls it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn checkpoint() -> String {
    workspace().join("examples/checkpoints/storyteller-moe").display().to_string()
}

fn pipelines(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pipelines")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = pipelines(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The one line that a failing call says.
fn fails(arguments: &[&str]) -> String {
    let output = pipelines(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let said = text(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].starts_with("error: "), "{said}");
    lines[0].to_owned()
}

#[test]
fn run_continues_a_prompt() {
    let answer = succeeds(&["run", "--model", &checkpoint(), "--greedy", "Sum: 23 + 45 ="]);
    assert_eq!(answer, "Sum: 23 + 45 = 68\n");
}

#[test]
fn run_reads_standard_input() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_pipelines"))
        .args(["run", "--model", &checkpoint(), "--greedy"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(b"Sum: 31 + 17 =\n").unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "Sum: 31 + 17 = 48\n");
}

#[test]
fn run_answers_a_message() {
    let answer = succeeds(&["run", "--model", &checkpoint(), "--chat", "--greedy", "What is 23 + 45?"]);
    assert_eq!(answer, "23 + 45 = 68\n");
}

#[test]
fn run_writes_json_and_pictures() {
    let scratch = tempfile::tempdir().unwrap();
    let svg = scratch.path().join("experts.svg");
    let arguments = [
        "run",
        "--model",
        &checkpoint(),
        "--json",
        "--seed",
        "5",
        "--max-new-tokens",
        "8",
        "--svg",
        svg.to_str().unwrap(),
        "Once",
    ];
    let json: Value = serde_json::from_str(&succeeds(&arguments)).unwrap();
    assert_eq!((json["seed"].as_u64(), json["usage"]["completion_tokens"].as_u64()), (Some(5), Some(8)));
    assert_eq!(json["finish_reason"], "length");
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    let again: Value = serde_json::from_str(&succeeds(&arguments)).unwrap();
    assert_eq!(json["tokens"], again["tokens"]);
    let picture = succeeds(&[
        "run",
        "--model",
        &checkpoint(),
        "--heatmap",
        "--greedy",
        "--max-new-tokens",
        "8",
        "Once",
    ]);
    assert!(picture.contains("expert ") && !picture.contains('\u{1b}'), "{picture}");
}

#[test]
fn run_turns_text_into_a_vector() {
    let json = succeeds(&["run", "--model", &checkpoint(), "--task", "feature-extraction", "--json", "Once"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["embedding"].as_array().unwrap().len(), 192);
}

#[test]
fn inspect_says_what_a_checkpoint_is() {
    let said = succeeds(&["inspect", &checkpoint()]);
    for expected in
        ["moe (mixtral)", "text-generation, feature-extraction", "8 a layer, 2 a token", "512 tokens"]
    {
        assert!(said.contains(expected), "{said}");
    }
    let json: Value = serde_json::from_str(&succeeds(&["inspect", "--json", &checkpoint()])).unwrap();
    assert_eq!(json["parameters"].as_u64(), Some(2_764_224));
    assert_eq!(json["stored"]["bf16"].as_u64(), Some(2 * 2_764_224));
    assert!(json["memory"][0]["fits"].as_bool().unwrap());
    assert_eq!(json["problems"].as_array().unwrap().len(), 0);
}

#[test]
fn models_are_listed() {
    let said = succeeds(&["models"]);
    assert!(
        said.contains("mixtral") && said.contains("text-generation") && said.contains("temperature"),
        "{said}"
    );
    let json: Value = serde_json::from_str(&succeeds(&["models", "--json", "sparse"])).unwrap();
    assert_eq!(json[0]["architecture"], "moe");
}

#[test]
fn forward_takes_and_gives_the_names_of_the_reference() {
    let fixtures = workspace().join("pipeline-runtime/tests/fixtures/mixtral");
    let scratch = tempfile::tempdir().unwrap();
    let outputs = scratch.path().join("outputs.safetensors");
    let path = |name: &str| fixtures.join(name).display().to_string();
    let output = outputs.display().to_string();
    let model = path("models/base");
    let inputs = path("cases/base_left_padding/inputs.safetensors");
    let arguments = ["forward", "--model", &model, "--inputs", &inputs, "--outputs", &output];
    succeeds(&[&arguments[..], &["--device", "cpu", "--dtype", "f32", "--output-router-logits"]].concat());
    let bytes = fs::read(&outputs).unwrap();
    let written = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let recorded = fs::read(path("cases/base_left_padding/outputs.safetensors")).unwrap();
    let recorded = safetensors::SafeTensors::deserialize(&recorded).unwrap();
    let numbers = |view: safetensors::tensor::TensorView<'_>| -> Vec<f32> {
        view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    for name in ["logits", "router_logits.0", "router_logits.2", "aux_loss"] {
        let (written, recorded) = (written.tensor(name).unwrap(), recorded.tensor(name).unwrap());
        assert_eq!(written.shape(), recorded.shape(), "{name}");
        let pairs = numbers(written).into_iter().zip(numbers(recorded));
        let off = pairs.map(|(written, recorded)| (written - recorded).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{name} is off by {off}");
    }
    let unknown = path("cases/base_left_padding/outputs.safetensors");
    let error = fails(&["forward", "--model", &model, "--inputs", &unknown, "--outputs", &output]);
    assert!(error.contains("the model takes no input `aux_loss`"), "{error}");
    let error = fails(&[&arguments[..], &["--device", "cuda"]].concat());
    assert!(error.contains("`cuda`"), "{error}");
}

#[test]
fn prepare_writes_what_the_compiler_checks_without_the_checkpoint() {
    let workspace = tempfile::tempdir().unwrap();
    let root = workspace.path().join("teller");
    let directory = root.join("checkpoints/storyteller");
    fs::create_dir_all(root.join("src")).unwrap();
    fs::create_dir_all(&directory).unwrap();
    fs::write(root.join("Cargo.toml"), "").unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(Path::new(&checkpoint()).join(file), directory.join(file)).unwrap();
    }
    let source = "#[pipeline(arch = moe, model = \"checkpoints/storyteller\")]\nstruct Storyteller;\n";
    fs::write(root.join("src/main.rs"), source.repeat(2)).unwrap();
    let path = workspace.path().display().to_string();
    let prepare = ["prepare", &path];
    let check = ["prepare", "--check", &path];
    let refused = |arguments: &[&str], expected: &str| {
        let output = pipelines(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 2 && lines[0].contains(expected), "{said}");
        assert!(lines[1].starts_with("error: 1 of 1 declared models "), "{said}");
    };

    refused(&check, ".pipelines/checkpoints--storyteller.json: missing; run `pipelines prepare`");
    let snapshot = root.join(".pipelines/checkpoints--storyteller.json");
    assert_eq!(succeeds(&prepare), format!("{}: written\n", snapshot.display()));
    let written = fs::read_to_string(&snapshot).unwrap();
    let json: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(json["config"]["num_local_experts"], 8);
    assert_eq!(json["files"][0]["tensors"]["model.norm.weight"]["dtype"], "BF16");
    assert_eq!(succeeds(&prepare), format!("{}: up to date\n", snapshot.display()));
    assert_eq!(fs::read_dir(root.join(".pipelines")).unwrap().count(), 1);
    succeeds(&check);

    // It says the same however the checkpoint is written.
    let config = directory.join("config.json");
    let original = fs::read_to_string(&config).unwrap();
    let fields: serde_json::Map<String, Value> = serde_json::from_str(&original).unwrap();
    let reversed: Vec<String> =
        fields.iter().rev().map(|(key, value)| format!("{}: {value}", Value::from(key.as_str()))).collect();
    fs::write(&config, format!("{{{}}}", reversed.join(",\t"))).unwrap();
    succeeds(&check);
    fs::remove_file(&snapshot).unwrap();
    succeeds(&prepare);
    assert_eq!(fs::read_to_string(&snapshot).unwrap(), written);

    fs::write(&config, original.replace("\"num_local_experts\": 8", "\"num_local_experts\": 9")).unwrap();
    refused(&check, ".pipelines/checkpoints--storyteller.json: stale, the checkpoint says otherwise; run");
    assert_eq!(fs::read_to_string(&snapshot).unwrap(), written);
    fs::write(&config, "{").unwrap();
    refused(&prepare, "malformed JSON");
    assert_eq!(fs::read_to_string(&snapshot).unwrap(), written);

    fs::remove_dir_all(&directory).unwrap();
    assert!(succeeds(&check).contains("not compared, as there is no directory `checkpoints/storyteller`"));
    fs::write(&snapshot, written.replace("\"format\": 1", "\"format\": 2")).unwrap();
    refused(&check, "`format`: version 2");
    fs::remove_file(&snapshot).unwrap();
    refused(&check, "there is no directory");
    assert!(fails(&["prepare", "nowhere"]).contains("expected the directory of a crate"));
}

/// What a checkout without the checkpoints is checked against: it is committed.
#[test]
fn the_snapshots_of_the_examples_are_up_to_date() {
    let said = succeeds(&["prepare", "--check", &workspace().join("examples").display().to_string()]);
    assert!(said.contains("checkpoints--storyteller-moe.json: up to date"), "{said}");
}

#[test]
fn bench_measures_random_weights() {
    let arguments = ["bench", "--preset", "tiny", "--layers", "2", "--turns", "1", "--tokens", "2", "--json"];
    let json: Value = serde_json::from_str(&succeeds(&arguments)).unwrap();
    assert!(json["decode"]["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(json["prefill"].as_array().unwrap().len(), 2);
    assert!(json["decode"]["ratio"].is_null());
}

#[test]
fn errors_are_one_line_with_what_to_do() {
    let checkpoint = checkpoint();
    assert_eq!(fails(&["run", "--model", &checkpoint, ""]), "error: the prompt is empty");
    let error = fails(&["run", "--model", &checkpoint, "--num-active-experts", "9", "Once"]);
    assert!(error.contains("`num_active_experts` is 9, but the checkpoint has 8 experts"), "{error}");
    let error = fails(&["run", "--model", &checkpoint, "--task", "text-generator", "Once"]);
    assert!(error.contains("did you mean `text-generation`?"), "{error}");
    let error = fails(&["run", "--model", &checkpoint, "--device", "rocm", "Once"]);
    assert!(error.contains("none of the hardware asked for is available"), "{error}");
    let error = fails(&["inspect", "nowhere"]);
    assert!(error.contains("does not exist"), "{error}");
    let error = fails(&["models", "moee"]);
    assert!(error.contains("did you mean `moe`?"), "{error}");
}
