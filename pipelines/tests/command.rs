//! The `pipelines` command as a user calls it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

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
fn run_quantises() {
    for format in ["q8_0", "q4_k"] {
        let run =
            |prompt| succeeds(&["run", "--model", &checkpoint(), "--quantize", format, "--greedy", prompt]);
        assert_eq!(run("Sum: 23 + 45 ="), "Sum: 23 + 45 = 68\n", "{format}");
        // A story of sentences: it begins and ends like one, and has words that stories have.
        let story = run("Once upon a time");
        assert!(story.starts_with("Once upon a time") && story.len() > 100, "{story}");
        assert!(story.matches(". ").count() >= 2 && story.contains(" the "), "{story}");
    }
    let output = pipelines(&["run", "--model", &checkpoint(), "--quantize", "q5_k", "Once"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("expected one of `q4_k`, `q8_0`"), "{said}");
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

/// The tokens of a recorded tensor, a row each.
fn recorded_tokens(file: &Path, name: &str) -> Vec<Vec<u64>> {
    let bytes = fs::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let numbers: Vec<u64> =
        tensor.data().as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    numbers.chunks_exact(tensor.shape()[1]).map(<[u64]>::to_vec).collect()
}

#[test]
fn a_dense_decoder_is_run_and_inspected() {
    let fixtures = workspace().join("pipeline-runtime/tests/fixtures/decoders");
    let scratch = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixtures.join("models/qwen3")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), scratch.path().join(file.file_name())).unwrap();
    }
    let vocabulary: serde_json::Map<String, Value> =
        (0..53).map(|token| (format!("w{token}"), token.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    });
    fs::write(scratch.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let model = scratch.path().to_str().unwrap();

    let case = fixtures.join("cases/qwen3_greedy");
    let prompt = &recorded_tokens(&case.join("inputs.safetensors"), "input_ids")[0];
    let whole = &recorded_tokens(&case.join("outputs.safetensors"), "sequences")[0];
    let words = |tokens: &[u64]| tokens.iter().map(|token| format!("w{token}")).collect::<Vec<_>>().join(" ");
    let count = (whole.len() - prompt.len()).to_string();
    let run = ["run", "--model", model, "--greedy", "--max-new-tokens", &count];
    assert_eq!(succeeds(&[&run[..], &[&words(prompt)]].concat()), words(whole) + "\n");
    let json: Value =
        serde_json::from_str(&succeeds(&[&run[..], &["--json", &words(prompt)]].concat())).unwrap();
    assert_eq!((json["finish_reason"].as_str(), &json["experts"]), (Some("length"), &Value::Null));
    let features = ["run", "--model", model, "--task", "feature-extraction", "--json", "w5 w6"];
    let json: Value = serde_json::from_str(&succeeds(&features)).unwrap();
    assert_eq!(json["last_hidden_state"].as_array().unwrap().len(), 2);

    let error = fails(&["run", "--model", model, "--num-active-experts", "2", "w5"]);
    assert!(error.contains("`--num-active-experts` is about experts"), "{error}");
    let said = succeeds(&["inspect", model]);
    assert!(said.contains("text (qwen3)") && !said.contains("experts"), "{said}");
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
    assert!(said.contains("\ncannot run yet: vision, vision-text, "), "{said}");
    assert!(said.contains("fewer words (not yet)") && !said.contains("guidance_scale"), "{said}");
    assert!(said.contains("llama, mistral, qwen2, qwen3"), "{said}");
    let json: Value = serde_json::from_str(&succeeds(&["models", "--json", "sparse"])).unwrap();
    assert_eq!((&json[0]["architecture"], &json[0]["runs"]), (&Value::from("moe"), &Value::from(true)));
    let json: Value = serde_json::from_str(&succeeds(&["models", "--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 9);
    assert_eq!((&json[8]["architecture"], &json[8]["runs"]), (&Value::from("rag"), &Value::from(false)));
}

#[test]
fn what_hardware_cannot_compute_in_is_refused_as_in_a_declaration() {
    for command in ["run", "forward"] {
        let inputs = workspace().join("pipeline-runtime/tests/fixtures/mixtral/cases/base_left_padding");
        let inputs = inputs.join("inputs.safetensors").display().to_string();
        let checkpoint = checkpoint();
        let mut arguments = vec![command, "--model", &checkpoint, "--device", "cpu", "--dtype", "f16"];
        match command {
            "run" => arguments.push("Once"),
            _ => arguments.extend(["--inputs", &inputs, "--outputs", "not-written.safetensors"]),
        }
        let said = fails(&arguments);
        assert_eq!(said, "error: `cpu` cannot compute in `f16`; expected one of `f32`, `bf16`");
    }
}

#[test]
fn what_does_not_run_yet_is_shown_when_asked_for() {
    let said = succeeds(&["models", "diffusion"]);
    assert!(said.contains("runs          not yet\n") && said.contains("guidance_scale"), "{said}");
    let said = fails(&["run", "--model", &checkpoint(), "--task", "summarization", "Once"]);
    assert_eq!(
        said,
        "error: `moe` cannot do `summarization` yet; this version does `text-generation` and `feature-extraction`"
    );
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

/// What `bench --json` wrote, a line each.
fn lines_of_json(said: &str) -> Vec<Value> {
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn bench_measures_random_weights() {
    // The bytes are those that the peer counts in its own model.
    for (preset, bytes) in [("tiny", 2_238_976), ("tiny-dense", 1_444_352)] {
        let sizes = ["--layers", "2", "--dtype", "f32", "--turns", "1", "--tokens", "2"];
        let rows = ["--batch", "1,3", "--prefill", "8,20"];
        let bench = ["bench", "--json", "--preset", preset];
        let lines = lines_of_json(&succeeds(&[&bench[..], &sizes, &rows].concat()));
        let [circumstances, rows @ .., end] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((circumstances["preset"].as_str(), &circumstances["peer"]), (Some(preset), &Value::Null));
        assert_eq!(circumstances["bytes_per_token"], bytes);
        assert!(end["roof_gb_per_s_after"].as_f64().unwrap() > 0.0);
        let works: Vec<_> = rows
            .iter()
            .map(|row| format!("{} {} {}", row["work"].as_str().unwrap(), row["batch"], row["tokens"]))
            .collect();
        let of_batch = |batch| {
            let decode = format!("decode {batch} 1");
            [decode, format!("prefill {batch} 8"), format!("prefill {batch} 20")]
        };
        assert_eq!(works, [of_batch(1), of_batch(3)].concat());
        for row in rows {
            assert!(row["ms"].as_f64().unwrap() > 0.0);
            assert!(row["ratio"].is_null() && row["kernels_s"].is_null() && row["launches"].is_null());
        }
        // Several tokens read more experts than one does: how many is not known.
        assert!(rows[0]["share_of_roof"].as_f64().unwrap() > 0.0);
        assert_eq!(rows[3]["share_of_roof"].is_null(), preset == "tiny");
    }
    // Quantised: 512 weights of a part are 272 bytes in blocks of 32, 288 in blocks of 256. Of the second preset only the
    // last maps of feed-forward networks, with rows of 256, are whole blocks of 256.
    for (preset, maps, last_maps, dense) in
        [("tiny", 491_520, 0, 2_688), ("tiny-dense", 229_376, 65_536, 640)]
    {
        let bench = ["bench", "--json", "--preset", preset, "--quantize", "q4_k"];
        let sizes = ["--layers", "2", "--dtype", "f32", "--turns", "1", "--tokens", "2", "--prefill", "20"];
        let lines = lines_of_json(&succeeds(&[&bench[..], &sizes].concat()));
        let bytes = (maps + 512 * 128) / 32 * 34 + last_maps / 256 * 144 + 4 * dense;
        assert_eq!(lines[0]["bytes_per_token"], bytes);
        assert_eq!(lines[0]["quantize"], "q4_k");
        let error = lines[0]["error_to_f32"].as_f64().unwrap();
        assert!((0.001..0.02).contains(&error), "{error}");
        assert!(lines[1]["ms"].as_f64().unwrap() > 0.0);
    }
    // A vocabulary of another size: the output layer is as much larger.
    let sizes = ["--layers", "2", "--dtype", "f32", "--turns", "1", "--tokens", "2", "--prefill", "20"];
    for (vocabulary, shown) in [(1000, json!(1000)), (2, json!(2)), (512, Value::Null)] {
        let (bench, given) = (["bench", "--preset", "tiny-dense", "--vocabulary"], vocabulary.to_string());
        let bench = [&bench[..], &[&given], &sizes].concat();
        let lines = lines_of_json(&succeeds(&[&bench[..], &["--json"]].concat()));
        assert_eq!(lines[0]["vocabulary"], shown);
        assert_eq!(lines[0]["bytes_per_token"], 1_444_352 + 4 * 128 * (vocabulary - 512));
        assert!(lines[1]["ms"].as_f64().unwrap() > 0.0);
        if vocabulary == 1000 {
            let said = succeeds(&bench);
            assert!(said.starts_with("tiny-dense x 2 with a vocabulary of 1000 in f32 on cpu"), "{said}");
        }
    }
    let error = fails(&["bench", "--preset", "tiny", "--vocabulary", "1"]);
    assert_eq!(error, "error: `--vocabulary` is 1, expected at least 2 tokens");
    let error = fails(&["bench", "--preset", "tiny", "--batch", "0"]);
    assert!(error.contains("`--batch` must be at least 1"), "{error}");
    let error = fails(&["bench", "--preset", "tiny", "--prompt", "32760"]);
    assert_eq!(error, "error: the context of the preset is 32768 tokens");
}

/// Rows are there before the run is over: one that is cut off has shown what it had measured.
#[cfg(unix)]
#[test]
fn bench_shows_each_row_as_it_is_measured() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = tempfile::tempdir().unwrap();
    let peer = scratch.path().join("peer");
    let answers = "echo '{\"ready\": true, \"peer\": \"one that knows no prefill\"}'\n\
                   while read work count batch; do\n\
                   case $work in decode) echo '{\"ms\": [4.5, 2.5, 3.5]}' ;; *) exit 3 ;; esac\n\
                   done\n";
    fs::write(&peer, format!("#!/bin/sh\n{answers}")).unwrap();
    fs::set_permissions(&peer, fs::Permissions::from_mode(0o755)).unwrap();
    let bench = ["bench", "--json", "--preset", "tiny", "--turns", "2", "--tokens", "3"];
    let output = pipelines(&[&bench[..], &["--peer", peer.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the peer ended: exit status: 3"), "{}", text(&output.stderr));
    let lines = lines_of_json(&text(&output.stdout));
    let [circumstances, decode] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(circumstances["peer"]["peer"], "one that knows no prefill");
    assert_eq!((decode["work"].as_str(), decode["peer_ms"].as_f64()), (Some("decode"), Some(3.5)));
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

#[test]
fn doctor_says_what_there_is_and_what_is_in_the_way() {
    let said: Value = serde_json::from_str(&succeeds(&["doctor", "--brief", "--json"])).unwrap();
    let devices: Vec<&str> =
        said.as_array().unwrap().iter().map(|device| device["device"].as_str().unwrap()).collect();
    for hardware in ["cpu", "cuda", "rocm"] {
        assert!(devices.iter().any(|device| device.starts_with(hardware)), "{devices:?}");
    }
    assert_eq!(said[0]["obstacle"], Value::Null);
    assert!(said[0]["facts"]["threads"].is_string());
    assert!(fails(&["doctor", "--device", "cuda:4000"]).contains("cuda:4000"));
}

#[test]
fn doctor_tests_kernels() {
    let arguments = ["doctor", "--device", "cpu", "--kernels", "activation,norm", "--json"];
    let said: Value = serde_json::from_str(&succeeds(&arguments)).unwrap();
    let checks = said[0]["checks"].as_array().unwrap();
    for family in ["activation", "norm"] {
        let of_it: Vec<&Value> = checks.iter().filter(|check| check["family"] == family).collect();
        assert!(of_it.len() > 10 && of_it.iter().all(|check| check["passes"] == true), "{family}");
        assert!(of_it.iter().any(|check| check["share_of_roof"].as_f64().is_some_and(|share| share > 0.0)));
    }
    assert!(checks.iter().all(|check| ["activation", "norm"].contains(&check["family"].as_str().unwrap())));
    let table = succeeds(&["doctor", "--device", "cpu", "--kernels", "norm"]);
    assert!(table.contains("right") && table.contains("% of memory") && !table.contains("activation"));
}

#[test]
fn a_quick_doctor_tests_every_kernel_and_times_none() {
    let said: Value =
        serde_json::from_str(&succeeds(&["doctor", "--device", "cpu", "--quick", "--json"])).unwrap();
    let checks = said[0]["checks"].as_array().unwrap();
    let families: BTreeSet<&str> = checks.iter().map(|check| check["family"].as_str().unwrap()).collect();
    let expected = [
        "activation",
        "attention",
        "experts",
        "matmul",
        "norm",
        "quantized experts",
        "quantized matmul",
        "rotary",
        "router",
        "softmax",
    ];
    assert_eq!(families, BTreeSet::from(expected));
    assert!(checks.iter().all(|check| check["passes"] == true));
    assert!(checks.iter().all(|check| check["check"].as_object().unwrap()["speed"].is_null()));
    assert!(said[0].as_object().unwrap()["roof"].is_null());
}
