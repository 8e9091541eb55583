//! A snapshot says what its checkpoint says, or what is wrong with itself.
#![allow(missing_docs)]

mod tiny;

use std::fs;
use std::path::Path;

use pipeline_schema::checkpoint::{Checkpoint, snapshot};
use pipeline_schema::rules::{Request, check_checkpoint};
use pipeline_schema::{Hardware, Value, arch, task};
use serde_json::json;
use tempfile::TempDir;
use tiny::{Random, Tiny};

const MODEL: &str = "checkpoints/story";
const SHOWN: &str = ".pipelines/checkpoints--story.json";

/// A crate with a checkpoint in the place of [`MODEL`].
fn crate_with(write: impl FnOnce(&Path)) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(MODEL)).unwrap();
    write(&root.path().join(MODEL));
    root
}

/// The snapshot of its checkpoint, written where it belongs.
fn prepare(root: &TempDir) -> String {
    let text = snapshot::write(&Checkpoint::read(&root.path().join(MODEL)).unwrap(), MODEL);
    put(root, &text);
    text
}

fn put(root: &TempDir, text: &str) {
    fs::create_dir_all(root.path().join(".pipelines")).unwrap();
    fs::write(root.path().join(SHOWN), text).unwrap();
}

/// What is said of a snapshot with `from` replaced.
fn broken(root: &TempDir, text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{text}");
    put(root, &text.replacen(from, to, 1));
    snapshot::read(root.path(), MODEL).unwrap_err().to_string()
}

#[test]
fn it_has_the_facts_of_the_checkpoint() {
    let without_tokenizer = Tiny { tokenizer: None, ..Tiny::new() };
    let checkpoints: [&dyn Fn(&Path); 3] = [
        &|directory| Tiny::new().write(directory),
        &|directory| Tiny::new().write_sharded(directory),
        &|directory| without_tokenizer.write(directory),
    ];
    for write in checkpoints {
        let root = crate_with(write);
        let read = Checkpoint::read(&root.path().join(MODEL)).unwrap();
        let text = prepare(&root);
        let from_snapshot = snapshot::read(root.path(), MODEL).unwrap();
        assert_eq!(from_snapshot.config(), read.config());
        assert_eq!(from_snapshot.model_type(), read.model_type());
        assert_eq!(from_snapshot.tensors(), read.tensors());
        assert_eq!(from_snapshot.files(), read.files());
        assert_eq!(from_snapshot.tokenizer(), read.tokenizer());
        assert_eq!(from_snapshot.header_hash(), read.header_hash());
        assert_eq!(from_snapshot.directory(), read.directory());
        assert_eq!(from_snapshot.tracked(), [root.path().join(SHOWN)]);
        assert_eq!(snapshot::write(&from_snapshot, "./checkpoints/story/"), text);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}

#[test]
fn it_has_a_line_for_every_tensor() {
    let root = crate_with(|directory| Tiny::new().write(directory));
    let text = prepare(&root);
    assert!(text.starts_with("{\n  \"format\": 1,\n  \"model\": \"checkpoints/story\",\n"), "{text}");
    let router = "\n        \"model.layers.1.block_sparse_moe.gate.weight\": \
                  {\"dtype\": \"F32\", \"shape\": [8, 12], \"data_offsets\": [";
    assert!(text.contains(router), "{text}");
    assert!(text.contains("\n    \"num_local_experts\": 8,\n"), "{text}");
    assert!(text.ends_with("      }\n    }\n  ]\n}\n"), "{text}");
}

#[test]
fn the_rules_hold_and_name_it() {
    let root = crate_with(|directory| Tiny::new().with("vocab_size", json!(31)).write(directory));
    prepare(&root);
    let mut request = Request::new(&arch::MOE, &task::TEXT_GENERATION, vec![Hardware::Cpu]);
    request.parameters.push(("num_active_experts".to_owned(), Some(Value::Integer(9))));
    let problems = check_checkpoint(&snapshot::read(root.path(), MODEL).unwrap(), &request);
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            format!(
                "`num_active_experts` is 9, but the checkpoint has 8 experts ({SHOWN}: config.num_local_experts = 8)"
            ),
            format!(
                "tensor `model.embed_tokens.weight` has shape [32, 12], expected [31, 12], \
                 `lm_head.weight` has shape [32, 12], expected [31, 12] ({SHOWN}: model.safetensors)"
            ),
            format!(
                "the tokenizer is of another model: its greatest id is 31, but the model's vocabulary has 31 tokens \
                 ({SHOWN}: tokenizer; {SHOWN}: config.vocab_size = 31)"
            ),
        ]
    );
}

#[test]
fn what_is_wrong_with_it_is_said_with_file_and_field() {
    let root = crate_with(|directory| Tiny::new().write(directory));
    let text = prepare(&root);
    for (from, to, said) in [
        ("\"format\": 1", "\"format\": 2", "`format`: version 2 was written by another version"),
        ("\"format\": 1,", "", "`format` is missing"),
        (
            "\"header_hash\": \"",
            "\"header_hash\": \"x",
            "`header_hash`: expected 16 hexadecimal digits, found `x",
        ),
        ("\"config\": {", "\"config\": [{", "`config`: malformed JSON: "),
        ("\"config\"", "\"konfig\"", "unknown field `konfig`"),
        ("\"vocabulary_size\": 32", "\"vocabulary_size\": 0", "`tokenizer`: `vocabulary_size` 0 is not"),
        (
            "\"name\": \"model",
            "\"name\": \"../model",
            "`files[0]`: `name` is `../model.safetensors`, expected",
        ),
        ("\"length\": ", "\"length\": -", "`files[0]`: `length`: expected a length, found `-"),
        ("\"header_length\": ", "\"header_length\": 9", "`files[0]`: `length` "),
        (
            "\"shape\": [32, 12]",
            "\"shape\": [32, 13]",
            "`files[0]`: `tensors`: tensor `lm_head.weight`: `shape`",
        ),
        (
            "\"data_offsets\": [0, ",
            "\"data_offsets\": [1, ",
            "`files[0]`: `tensors`: tensor `lm_head.weight`: ",
        ),
        ("\"lm_head.weight\"", "\"model.norm.weight\"", "`files`: tensor `model.norm.weight` is there twice"),
    ] {
        let error = broken(&root, &text, from, to);
        assert!(error.contains(&format!("the snapshot is malformed: {said}")), "{error}");
        assert!(error.contains("write it again with `pipelines prepare`"), "{error}");
        assert!(error.ends_with(&format!(" ({SHOWN})")), "{error}");
    }
    let another = broken(&root, &text, "checkpoints/story", "checkpoints--story");
    let said = "the snapshot is of the model `checkpoints--story`, not `checkpoints/story`; write it again";
    assert!(another.starts_with(said), "{another}");
    let typeless = broken(&root, &text, "\"model_type\"", "\"type\"");
    assert_eq!(typeless, format!("`model_type` is missing ({SHOWN}: config.model_type)"));
}

#[test]
fn no_damage_is_more_than_an_error() {
    let root = crate_with(|directory| Tiny::new().write_sharded(directory));
    let text = prepare(&root);
    let mut random = Random(11);
    for _ in 0..500 {
        let mut bytes = text.clone().into_bytes();
        match random.below(3) {
            0 => bytes.truncate(random.below(text.len())),
            1 => bytes[random.below(text.len())] = b" 09{}[],:\"-x\xff"[random.below(13)],
            _ => drop(bytes.drain(random.below(20)..20 + random.below(text.len() - 20))),
        }
        fs::write(root.path().join(SHOWN), bytes).unwrap();
        // An error or not: a digit may change without harm.
        let _ = snapshot::read(root.path(), MODEL);
    }
}
