//! Corrupted checkpoints: each is an error that names file and field, none is a panic or a large allocation.
#![allow(missing_docs)]

#[path = "../../pipeline-macros/schema/tests/tiny/mod.rs"]
mod tiny;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use pipeline_runtime::checkpoint::CheckpointFiles;
use pipeline_schema::checkpoint::Checkpoint;
use pipeline_schema::rules::{Request, check_checkpoint};
use pipeline_schema::{Hardware, arch, task};
use serde_json::json;
use tiny::{Random, Tiny, file, file_of, header};

/// The system's allocator, remembering the largest allocation.
struct Remembering;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

/// Several times what the largest file here needs, and a fraction of what the smallest lie asks for.
const ALLOCATION_LIMIT: usize = 32 << 20;

/// Opens the checkpoint as the loader does and applies the rules; the error as it is printed.
fn open(directory: &Path) -> Result<CheckpointFiles, String> {
    let files = CheckpointFiles::open(directory).map_err(|error| error.to_string())?;
    let request = Request::new(&arch::MOE, &task::TEXT_GENERATION, vec![Hardware::Cpu]);
    let problems = check_checkpoint(files.facts(), &request);
    if problems.is_empty() {
        return Ok(files);
    }
    Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Breaks a checkpoint and asserts that the error names every one of `named`, on one line.
#[track_caller]
fn broken(breaks: impl FnOnce(&Path), named: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("checkpoint");
    fs::create_dir(&directory).unwrap();
    breaks(&directory);
    let error = open(&directory).expect_err("the checkpoint is broken");
    for text in named {
        assert!(error.contains(text), "{text:?} is not in the error: {error}");
    }
    assert!(!error.contains('\n') && error.len() < 2000, "one readable line: {error}");
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= ALLOCATION_LIMIT, "{largest} bytes allocated at once");
}

/// Writes the checkpoint with other bytes as its `model.safetensors`.
fn with_weights(bytes: impl AsRef<[u8]>) -> impl FnOnce(&Path) {
    move |directory| {
        Tiny::new().write(directory);
        fs::write(directory.join("model.safetensors"), bytes).unwrap();
    }
}

/// Writes the checkpoint with something else in the entry of `model.norm.weight` in its header.
fn with_entry(field: &'static str, value: serde_json::Value) -> impl FnOnce(&Path) {
    let tensors = Tiny::new().tensors;
    let mut header = header(&tensors);
    header["model.norm.weight"][field] = value;
    let data: Vec<u8> = tensors.iter().flat_map(|tensor| tensor.bytes.clone()).collect();
    with_weights(file_of(header.to_string().as_bytes(), &data))
}

fn with_config(field: &'static str, value: serde_json::Value) -> impl FnOnce(&Path) {
    move |directory| Tiny::new().with(field, value).write(directory)
}

const WEIGHTS: &str = "model.safetensors";
const NORM: &str = "`model.norm.weight`";

#[test]
fn the_tiny_checkpoint_itself_is_sound() {
    for sharded in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let tiny = Tiny::new();
        if sharded {
            tiny.write_sharded(directory.path())
        } else {
            tiny.write(directory.path())
        }
        let files = open(directory.path()).unwrap();
        assert_eq!(files.facts().files().len(), if sharded { 2 } else { 1 });
        assert_eq!(files.facts().tracked(), [directory.path().join("config.json")]);
        assert_eq!(files.facts().tokenizer().unwrap().vocabulary_size, 32);
        for tensor in &tiny.tensors {
            let view = files.tensor(&tensor.name).unwrap();
            assert_eq!((view.shape, view.bytes), (&*tensor.shape, &*tensor.bytes));
            assert_eq!(*files.slice(&tensor.name).unwrap(), *tensor.bytes);
            let numbers = view.numbers::<f32>().unwrap();
            assert_eq!(numbers.len(), tensor.shape.iter().product::<usize>());
            assert_eq!(numbers[0].to_le_bytes(), tensor.bytes[..4]);
            assert!(view.numbers::<half::bf16>().is_err());
        }
        let error = files.tensor("model.nrom.weight").unwrap_err().to_string();
        assert!(error.contains("`model.nrom.weight`"), "{error}");
    }
}

#[test]
fn a_slice_outlives_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    Tiny::new().write(directory.path());
    let files = open(directory.path()).unwrap();
    let slice = files.slice("model.embed_tokens.weight").unwrap();
    let row = slice.part(48..96);
    drop((files, slice));
    let expected = Tiny::new().tensor("model.embed_tokens.weight").bytes[48..96].to_vec();
    assert_eq!(*row, *expected);
    assert_eq!(row.numbers::<f32>().len(), 12);
}

#[test]
fn the_hash_tells_headers_apart_and_not_weights() {
    let hash = |tiny: &Tiny| {
        let directory = tempfile::tempdir().unwrap();
        tiny.write(directory.path());
        Checkpoint::read(directory.path()).unwrap().header_hash()
    };
    let mut other = Tiny::new();
    other.tensors[0].bytes[0] ^= 1;
    assert_eq!(hash(&other), hash(&Tiny::new()));
    other.tensors[0].shape.reverse();
    assert_ne!(hash(&other), hash(&Tiny::new()));
}

#[test]
fn files_that_are_not_there() {
    broken(|_| (), &["`config.json` is missing", "`model.safetensors`", "`model.safetensors.index.json`"]);
    broken(|directory| fs::remove_dir(directory).unwrap(), &["directory does not exist"]);
    broken(
        |directory| {
            fs::remove_dir(directory).unwrap();
            fs::write(directory, "a file").unwrap();
        },
        &["expected the directory of a checkpoint"],
    );
    broken(
        |directory| {
            Tiny::new().write(directory);
            fs::remove_file(directory.join(WEIGHTS)).unwrap();
        },
        &["the weights are missing", "`model.safetensors`"],
    );
    broken(
        |directory| {
            Tiny::new().write(directory);
            fs::rename(directory.join(WEIGHTS), directory.join("pytorch_model.bin")).unwrap();
        },
        &["`pytorch_model.bin`", "convert", "save_pretrained"],
    );
    broken(
        |directory| {
            Tiny::new().write(directory);
            fs::remove_file(directory.join(WEIGHTS)).unwrap();
            fs::create_dir(directory.join(WEIGHTS)).unwrap();
        },
        &["model.safetensors", "expected a file"],
    );
}

#[test]
fn lengths_of_headers_that_lie() {
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 100_000_001] {
        let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
        broken(with_weights(bytes), &[WEIGHTS, &length.to_string(), "100000000"]);
    }
    broken(
        with_weights([&99_999_999_u64.to_le_bytes()[..], b"{}"].concat()),
        &[WEIGHTS, "truncated", "100000007", "has 10"],
    );
    broken(with_weights([0; 8]), &[WEIGHTS, "malformed"]);
    broken(with_weights([0; 5]), &[WEIGHTS, "truncated", "8 bytes", "has 5"]);
    broken(with_weights([]), &[WEIGHTS, "has 0"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    broken(with_weights(pointer), &[WEIGHTS, "git lfs pull"]);
}

#[test]
fn files_cut_short_or_longer() {
    let whole = file(&Tiny::new().tensors);
    for missing in [1, 4, 48, 1000] {
        let cut = whole.len() - missing;
        let counts = [whole.len().to_string(), cut.to_string()];
        broken(with_weights(&whole[..cut]), &[WEIGHTS, "truncated", &counts[0], &counts[1]]);
    }
    let longer = [&whole[..], &[0; 3]].concat();
    let counts = [whole.len().to_string(), longer.len().to_string()];
    broken(with_weights(longer), &[WEIGHTS, "the header describes", &counts[0], &counts[1]]);
}

#[test]
fn headers_that_are_no_header() {
    broken(with_weights(file_of(b"not json", b"")), &[WEIGHTS, "malformed", "expected an object"]);
    broken(with_weights(file_of(b"[]", b"")), &[WEIGHTS, "expected an object"]);
    broken(with_weights(file_of(b"{} {}", b"")), &[WEIGHTS, "malformed"]);
    broken(with_weights(file_of(b"{\"a\": 1}", b"")), &[WEIGHTS, "`a`", "expected an object"]);
    broken(with_weights(file_of(b"{\"\xff\": {}}", b"")), &[WEIGHTS, "malformed"]);
    let deep = format!("{{\"__metadata__\": {}", "[".repeat(1_000_000));
    broken(with_weights(file_of(deep.as_bytes(), b"")), &[WEIGHTS, "malformed"]);
    let deep = format!("{{\"a\": {}", "{\"other\":".repeat(1_000_000));
    broken(with_weights(file_of(deep.as_bytes(), b"")), &[WEIGHTS, "`a`"]);
}

#[test]
fn entries_that_lie() {
    broken(with_entry("dtype", json!(5)), &[WEIGHTS, NORM, "`dtype`"]);
    broken(with_entry("dtype", json!("F33")), &[WEIGHTS, NORM, "`F33`", "`F32`"]);
    broken(with_entry("dtype", json!("BF16")), &[WEIGHTS, NORM, "`shape` [12] of BF16 takes 24", "span 48"]);
    broken(with_entry("shape", json!([13])), &[WEIGHTS, NORM, "`shape` [13] of F32 takes 52", "span 48"]);
    broken(with_entry("shape", json!([-12])), &[WEIGHTS, NORM, "`shape`"]);
    broken(with_entry("shape", json!([1.5])), &[WEIGHTS, NORM, "`shape`"]);
    broken(with_entry("shape", json!("12")), &[WEIGHTS, NORM, "`shape`"]);
    broken(with_entry("shape", json!([u64::MAX, 2])), &[WEIGHTS, NORM, "`shape`", "more numbers"]);
    broken(with_entry("shape", json!([1_u64 << 32, 1_u64 << 32, 12])), &[WEIGHTS, NORM, "more numbers"]);
    broken(with_entry("shape", json!(vec![1; 100])), &[WEIGHTS, NORM, "`shape`", "more than 64 dimensions"]);
    broken(with_entry("shape", json!([3, 4])), &[WEIGHTS, NORM, "has shape [3, 4], expected [12]"]);
    broken(with_entry("data_offsets", json!([48, 0])), &[WEIGHTS, NORM, "`data_offsets` [48, 0]"]);
    broken(with_entry("data_offsets", json!([0])), &[WEIGHTS, NORM, "`data_offsets`"]);
    broken(with_entry("data_offsets", json!([0, 4, 48])), &[WEIGHTS, NORM, "`data_offsets`"]);
    broken(with_entry("data_offsets", json!([-48, 0])), &[WEIGHTS, NORM, "`data_offsets`"]);
    broken(with_entry("data_offsets", json!([0, 48])), &[WEIGHTS, NORM, "`lm_head.weight`", "overlap"]);
    let end = u64::MAX;
    broken(
        with_entry("data_offsets", json!([end - 48, end])),
        &[WEIGHTS, NORM, "truncated", &end.to_string()],
    );
    let size: usize = Tiny::new().tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    broken(with_entry("data_offsets", json!([size, size + 48])), &[WEIGHTS, NORM, "ends at byte"]);
}

#[test]
fn entries_that_are_missing_or_twice() {
    for field in ["dtype", "shape", "data_offsets"] {
        let mut header = header(&Tiny::new().tensors);
        header["model.norm.weight"].as_object_mut().unwrap().remove(field);
        let bytes = file_of(header.to_string().as_bytes(), b"");
        broken(with_weights(bytes), &[WEIGHTS, NORM, &format!("`{field}` is missing")]);
    }
    let entry = |start| {
        format!("\"a\": {{\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [{start}, {}]}}", start + 4)
    };
    let twice = format!("{{{}, {}}}", entry(0), entry(4));
    broken(with_weights(file_of(twice.as_bytes(), &[0; 8])), &[WEIGHTS, "tensor `a` twice"]);
    let hole = format!("{{{}}}", entry(4));
    broken(with_weights(file_of(hole.as_bytes(), &[0; 8])), &[WEIGHTS, "4 bytes before tensor `a`"]);
    let mut missing = Tiny::new();
    missing.tensors.retain(|tensor| !tensor.name.contains("experts.3"));
    let named = "`model.layers.0.block_sparse_moe.experts.3.w1.weight` [6, 12]";
    broken(|directory| missing.write(directory), &[WEIGHTS, named, "and 3 others"]);
    broken(with_weights(file_of(b"{}", b"")), &[WEIGHTS, "`model.embed_tokens.weight`"]);
}

#[test]
fn names_from_a_file_stay_on_one_short_line() {
    let name = format!("a\\n\\u001b[31m{}", "x".repeat(10_000));
    let header = format!("{{\"{name}\": {{\"dtype\": 5}}}}");
    broken(with_weights(file_of(header.as_bytes(), b"")), &[WEIGHTS, "`a\\n\\u{1b}[31mxxx", "xxx...`"]);
}

#[test]
fn configurations() {
    let config = "config.json";
    let written = |text: Vec<u8>| {
        move |directory: &Path| {
            Tiny::new().write(directory);
            fs::write(directory.join("config.json"), text).unwrap();
        }
    };
    broken(written(b"{".to_vec()), &[config, "malformed JSON", "line 1 column 1"]);
    broken(written(b"[]".to_vec()), &[config, "expected an object, found a list"]);
    broken(written(b"\xff\xfe".to_vec()), &[config, "malformed JSON"]);
    broken(written(b"{}".to_vec()), &[config, "`model_type` is missing"]);
    broken(
        written(b"{\"model_type\": 3}".to_vec()),
        &["config.json: model_type", "must be a text, but is 3"],
    );
    broken(written("[".repeat(100_000).into_bytes()), &[config, "recursion limit"]);
    broken(written(vec![b' '; 4_000_001]), &[config, "4000001 bytes", "limit of 4000000"]);

    broken(with_config("model_type", json!("mixtral-8x7b")), &["config.json: model_type", "`mixtral`"]);
    for field in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_local_experts",
        "num_experts_per_tok",
    ] {
        let source = format!("config.json: {field}");
        broken(|directory| Tiny::new().without(field).write(directory), &[&source, "is missing"]);
        for (value, shown) in [
            (json!(0), "but is 0"),
            (json!(-1), "but is -1"),
            (json!(1_u64 << 40), "but is 1099511627776"),
            (json!(u64::MAX), "but is 18446744073709551615"),
            (json!(1.5), "but is 1.5"),
            (json!("12"), "but is `12`"),
            (json!([12]), "but is a list"),
        ] {
            broken(with_config(field, value), &[&source, "must be a whole number from 1 to", shown]);
        }
    }
    broken(with_config("num_key_value_heads", json!(0)), &["config.json: num_key_value_heads", "but is 0"]);
    broken(with_config("head_dim", json!("x")), &["config.json: head_dim", "but is `x`"]);
    broken(with_config("head_dim", json!(4)), &[WEIGHTS, "q_proj.weight", "[12, 12], expected [24, 12]"]);
    broken(
        with_config("hidden_act", json!("gelu")),
        &["config.json: hidden_act", "must be `silu`, but is `gelu`"],
    );
    broken(with_config("rms_norm_eps", json!(-1e-5)), &["config.json: rms_norm_eps", "a number above 0"]);
    broken(
        with_config("tie_word_embeddings", json!("no")),
        &["config.json: tie_word_embeddings", "`true` or `false`"],
    );
    broken(with_config("sliding_window", json!(0)), &["config.json: sliding_window", "but is 0"]);
    broken(with_config("quantization_config", json!({})), &["config.json: quantization_config"]);
    broken(
        with_config("rope_scaling", json!({"type": "yarn"})),
        &["config.json: rope_scaling.factor", "`rope_scaling.factor` is missing"],
    );
    broken(with_config("rope_scaling", json!({"type": "ntk"})), &["config.json: rope_scaling.type", "`ntk`"]);
    broken(
        with_config("rope_parameters", json!({"rope_theta": 0})),
        &["config.json: rope_parameters", "rope_theta"],
    );
    broken(
        with_config("rope_parameters", json!(3)),
        &["config.json: rope_parameters", "an object, but is 3"],
    );
    broken(with_config("rope_theta", json!("1e6")), &["config.json: rope_theta", "a number above 0"]);
    broken(
        with_config("architectures", json!("Mixtral")),
        &["config.json: architectures", "a list of texts"],
    );
    broken(
        with_config("vocab_size", json!(33)),
        &[WEIGHTS, "`model.embed_tokens.weight` has shape [32, 12], expected [33, 12]"],
    );
    broken(
        with_config("vocab_size", json!(31)),
        &["tokenizer.json", "config.json: vocab_size = 31", "greatest id is 31"],
    );
}

#[test]
fn tokenizers() {
    let written = |text: String| {
        move |directory: &Path| {
            Tiny::new().write(directory);
            fs::write(directory.join("tokenizer.json"), text).unwrap();
        }
    };
    let file = "tokenizer.json";
    broken(written("{".to_owned()), &[file, "malformed"]);
    broken(written("[]".to_owned()), &[file, "expected an object"]);
    broken(written("{}".to_owned()), &[file, "`model.vocab` and `added_tokens` are empty"]);
    broken(written(json!({"model": 3}).to_string()), &[file, "`model`"]);
    broken(written(json!({"model": {"vocab": {"a": -1}}}).to_string()), &[file, "`vocab`"]);
    broken(
        written(json!({"model": {"vocab": {"a": 1_u64 << 40}}}).to_string()),
        &[file, "`vocab`", "1099511627776"],
    );
    broken(written(json!({"added_tokens": [{"id": "x"}]}).to_string()), &[file, "`added_tokens`", "`id`"]);
    broken(written(json!({"added_tokens": [{"id": u32::MAX}]}).to_string()), &[file, "4294967295"]);
    let deep = format!("{{\"normalizer\": {}", "[".repeat(1_000_000));
    broken(written(deep), &[file, "malformed"]);
}

#[test]
fn shards() {
    let index = "model.safetensors.index.json";
    let sharded = |breaks: fn(&Path)| {
        move |directory: &Path| {
            Tiny::new().write_sharded(directory);
            breaks(directory);
        }
    };
    let indexed = |json: serde_json::Value| {
        move |directory: &Path| {
            Tiny::new().write_sharded(directory);
            fs::write(directory.join("model.safetensors.index.json"), json.to_string()).unwrap();
        }
    };
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    broken(
        sharded(|directory| fs::remove_file(directory.join("model-00002-of-00002.safetensors")).unwrap()),
        &[index, "1 of 2 shards missing", second],
    );
    broken(
        sharded(|directory| {
            fs::remove_file(directory.join("model-00001-of-00002.safetensors")).unwrap();
            fs::remove_file(directory.join("model-00002-of-00002.safetensors")).unwrap();
        }),
        &[index, "2 of 2 shards missing", first, second],
    );
    broken(
        sharded(|directory| {
            let path = directory.join("model-00002-of-00002.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
        }),
        &[second, "truncated"],
    );
    broken(
        sharded(|directory| {
            let first = directory.join("model-00001-of-00002.safetensors");
            fs::copy(first, directory.join("model-00002-of-00002.safetensors")).unwrap();
        }),
        &[second, "tensor `lm_head.weight` is in `model-00001-of-00002.safetensors` too"],
    );
    for path in ["../model.safetensors", "/etc/passwd", "..", "", "a/b.safetensors", "C:\\weights", "a\0b"] {
        broken(indexed(json!({"weight_map": {"a": path}})), &[index, "`weight_map`", "beside the index"]);
    }
    broken(indexed(json!({"weight_map": {"a": second}})), &[index, "`a`", second, "lacks it"]);
    let wrong = json!({"weight_map": {"lm_head.weight": second, "model.embed_tokens.weight": first}});
    broken(indexed(wrong), &[index, "`lm_head.weight`", second, "but it is in", first]);
    broken(indexed(json!({"weight_map": {"a": 1}})), &[index, "`weight_map`", "tensor `a`"]);
    broken(indexed(json!({"weight_map": {}})), &[index, "`weight_map` names no tensor"]);
    broken(indexed(json!({})), &[index, "`weight_map` is missing"]);
    broken(indexed(json!({"weight_map": []})), &[index, "`weight_map`", "expected an object"]);
    let many: serde_json::Map<_, _> =
        (0..5000).map(|shard| (format!("t{shard}"), json!(format!("s{shard}")))).collect();
    let directory = tempfile::tempdir().unwrap();
    indexed(json!({"weight_map": many}))(directory.path());
    let error = open(directory.path()).unwrap_err();
    assert!(error.contains("5000 of 5000 shards missing") && error.contains("and 4900 others"), "{error}");
}

#[test]
fn a_file_that_changes_between_reading_and_mapping() {
    let directory = tempfile::tempdir().unwrap();
    Tiny::new().write(directory.path());
    let facts = Checkpoint::read(directory.path()).unwrap();
    let path = directory.path().join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = CheckpointFiles::map(facts).unwrap_err().to_string();
    for text in [WEIGHTS, "changed", &bytes.len().to_string(), &(bytes.len() - 1).to_string()] {
        assert!(error.contains(text), "{error}");
    }
}

/// Flips, replaces, removes or repeats some of the first `end` bytes, or puts there what is dangerous in JSON.
fn damage(bytes: &mut Vec<u8>, end: usize, random: &mut Random) {
    let pieces: [&[u8]; 12] = [
        b"18446744073709551615",
        b"-1",
        b"1e400",
        b"\"",
        b"\\ud800",
        b"{",
        b"[",
        b"}",
        b"]",
        b"null",
        b"\0",
        b"F4",
    ];
    let place = random.below(end);
    match random.below(5) {
        0 => bytes[place] ^= 1 << random.below(8),
        1 => bytes[place] = random.below(256) as u8,
        2 => bytes.truncate(place.max(1)),
        3 => {
            let piece = pieces[random.below(pieces.len())];
            bytes.splice(place..(place + random.below(4)).min(end), piece.iter().copied());
        }
        _ => {
            let from = random.below(end);
            let copied = bytes[from..(from + random.below(64)).min(end)].to_vec();
            bytes.splice(place..place, copied);
        }
    }
}

/// A damaged header is read or refused, whatever comes of it, and nothing far larger than the file is allocated.
#[test]
fn damaged_headers_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    Tiny::new().write(directory.path());
    let path = directory.path().join(WEIGHTS);
    let whole = fs::read(&path).unwrap();
    let header_end = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut random = Random(0x5eed);
    let (mut refused, mut read) = (0, 0);
    for round in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            let end = header_end.min(bytes.len());
            // The length's own bytes are few: they are chosen more often than chance would.
            let end = if random.below(8) == 0 { end.min(8) } else { end };
            damage(&mut bytes, end, &mut random);
        }
        // Half of the time the length is mended, so that the damage reaches the JSON.
        let data = whole.len() - header_end;
        if round % 2 == 0 && bytes.len() > 8 + data {
            let length = (bytes.len() - 8 - data) as u64;
            bytes[..8].copy_from_slice(&length.to_le_bytes());
        }
        fs::write(&path, &bytes).unwrap();
        match open(directory.path()) {
            Ok(files) => {
                read += 1;
                for (name, _) in files.facts().tensors().iter() {
                    let view = files.tensor(name).unwrap();
                    std::hint::black_box(view.bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
                }
            }
            Err(error) => {
                refused += 1;
                assert!(error.contains(WEIGHTS) && !error.contains('\n'), "{error}");
            }
        }
    }
    assert!(refused > 2000, "{refused} refused, {read} read");
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= ALLOCATION_LIMIT, "{largest} bytes allocated at once");
}

/// A damaged configuration, index or tokenizer is read or refused.
#[test]
fn damaged_small_files_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    Tiny::new().write_sharded(directory.path());
    let mut random = Random(0xface);
    for name in ["config.json", "model.safetensors.index.json", "tokenizer.json"] {
        let path = directory.path().join(name);
        let whole = fs::read(&path).unwrap();
        let mut refused = 0;
        for _ in 0..700 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                let end = bytes.len();
                damage(&mut bytes, end, &mut random);
            }
            fs::write(&path, &bytes).unwrap();
            if let Err(error) = open(directory.path()) {
                refused += 1;
                assert!(!error.contains('\n') && error.len() < 5000, "{error}");
            }
        }
        assert!(refused > 300, "{name}: {refused} refused");
        fs::write(&path, &whole).unwrap();
    }
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= ALLOCATION_LIMIT, "{largest} bytes allocated at once");
}
