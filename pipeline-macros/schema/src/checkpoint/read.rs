//! Reading the files of a checkpoint in their order.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::hash::Hasher;
use super::index::Index;
use super::json::{self, problem};
use super::tensor::{TensorInfo, Tensors};
use super::tokenizer::TokenizerFacts;
use super::{Checkpoint, Origin, WeightFile, safetensors};
use crate::problem::{Problem, quoted};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";

/// Limits of the whole files, in bytes. Parsed, `config.json` takes up to twenty times as much memory.
const CONFIG_LIMIT: u64 = 4_000_000;
const INDEX_LIMIT: u64 = 100_000_000;
const TOKENIZER_LIMIT: u64 = 200_000_000;

/// How many missing shards an error names before it only counts.
const NAMED_SHARDS: usize = 100;

/// Reads a checkpoint; see [`Checkpoint::read_shown`].
pub(super) fn read(directory: &Path, shown: &str) -> Result<Checkpoint, Problem> {
    let config = read_config(directory, shown)?;
    let model_type = model_type(&config, |field| json::shown(shown, field))?;
    let mut tracked = vec![directory.join(CONFIG)];
    let weights = if exists(directory, WEIGHTS) {
        read_weights(directory, shown, vec![WEIGHTS.to_owned()])?
    } else if exists(directory, INDEX) {
        let path = directory.join(INDEX);
        let index_shown = json::shown(shown, INDEX);
        let bytes = json::read(&path, &index_shown, INDEX_LIMIT)?;
        let mut index = Index::parse(&bytes)
            .map_err(|error| problem(&index_shown, format!("the index is malformed: {error}")))?;
        tracked.push(path);
        shards_exist(directory, &index_shown, &index)?;
        let weights = read_weights(directory, shown, std::mem::take(&mut index.shards))?;
        index.shards = weights.files.iter().map(|file| file.name.clone()).collect();
        index.check(&weights.tensors).map_err(|message| problem(&index_shown, message))?;
        weights
    } else {
        return Err(no_weights(directory, shown));
    };
    Ok(Checkpoint {
        directory: directory.to_owned(),
        shown: shown.to_owned(),
        origin: Origin::Directory,
        config,
        model_type,
        tensors: weights.tensors,
        files: weights.files,
        tracked,
        tokenizer: read_tokenizer(directory, shown)?,
        header_hash: weights.header_hash,
    })
}

/// Whether something of this name is there: a dangling link is, so that the error names it.
fn exists(directory: &Path, file: &str) -> bool {
    directory.join(file).symlink_metadata().is_ok()
}

fn read_config(directory: &Path, shown: &str) -> Result<Map<String, Value>, Problem> {
    if !directory.exists() {
        return Err(problem(shown, "the checkpoint's directory does not exist"));
    }
    if !directory.is_dir() {
        return Err(problem(shown, "expected the directory of a checkpoint, found a file"));
    }
    if !exists(directory, CONFIG) {
        let message = format!(
            "`{CONFIG}` is missing: a checkpoint has `{CONFIG}`, and `{WEIGHTS}` or `{INDEX}` with its shards"
        );
        return Err(problem(shown, message));
    }
    let shown = json::shown(shown, CONFIG);
    let bytes = json::read(&directory.join(CONFIG), &shown, CONFIG_LIMIT)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(config)) => Ok(config),
        Ok(other) => {
            Err(problem(&shown, format!("expected an object, found {}", crate::models::described(&other))))
        }
        Err(error) => Err(problem(&shown, format!("malformed JSON: {error}"))),
    }
}

/// `model_type` of `config.json`; `shown` is what problems call a field of that file.
pub(super) fn model_type(
    config: &Map<String, Value>,
    shown: impl FnOnce(&str) -> String,
) -> Result<String, Problem> {
    let message = match config.get("model_type") {
        Some(Value::String(model_type)) => return Ok(model_type.clone()),
        Some(other) => format!("`model_type` must be a text, but is {}", crate::models::described(other)),
        None => "`model_type` is missing".to_owned(),
    };
    Err(problem(&shown("config.json: model_type"), message))
}

/// What was found instead of safetensors, and what to do.
fn no_weights(directory: &Path, shown: &str) -> Problem {
    let names = |suffix: &str| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(suffix)).min()
    };
    let found = [".bin", ".pt", ".pth", ".h5", ".msgpack"].into_iter().find_map(names);
    let message = match found {
        Some(name) => format!(
            "the weights are in {}, expected `{WEIGHTS}`: convert them with \
             `AutoModel.from_pretrained(directory).save_pretrained(directory)` of transformers",
            quoted(&name)
        ),
        None => format!("the weights are missing: expected `{WEIGHTS}`, or `{INDEX}` with its shards"),
    };
    problem(shown, message)
}

fn shards_exist(directory: &Path, index_shown: &str, index: &Index) -> Result<(), Problem> {
    let missing: Vec<String> = index
        .shards
        .iter()
        .filter(|shard| !directory.join(shard).exists())
        .map(|shard| quoted(shard))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut message = format!(
        "{} of {} shards missing: {}",
        missing.len(),
        index.shards.len(),
        missing[..missing.len().min(NAMED_SHARDS)].join(", ")
    );
    if missing.len() > NAMED_SHARDS {
        message += &format!(" and {} others", missing.len() - NAMED_SHARDS);
    }
    message += "; download the rest of the checkpoint";
    Err(problem(index_shown, message))
}

/// What the headers of all weight files say.
struct Weights {
    tensors: Tensors,
    files: Vec<WeightFile>,
    header_hash: u64,
}

fn read_weights(directory: &Path, shown: &str, names: Vec<String>) -> Result<Weights, Problem> {
    let mut hasher = Hasher::new();
    let mut tensors: Vec<(String, TensorInfo)> = Vec::new();
    let mut files: Vec<WeightFile> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let path: PathBuf = directory.join(name);
        let shown = json::shown(shown, name);
        files.push(safetensors::read(&path, &shown, (number, name), &mut tensors, &mut hasher)?);
    }
    let tensors = Tensors::new(tensors).map_err(|twice| {
        let [(name, first), (_, second)] = &*twice;
        let (name, in_first, in_second) = (quoted(name), &files[first.file].name, &files[second.file].name);
        let message = if first.file == second.file {
            format!("the header has tensor {name} twice")
        } else {
            format!("tensor {name} is in {} too", quoted(in_first))
        };
        problem(&json::shown(shown, in_second), message)
    })?;
    Ok(Weights { tensors, files, header_hash: hasher.finish() })
}

fn read_tokenizer(directory: &Path, shown: &str) -> Result<Option<TokenizerFacts>, Problem> {
    if !exists(directory, TOKENIZER) {
        return Ok(None);
    }
    let shown = json::shown(shown, TOKENIZER);
    let bytes = json::read(&directory.join(TOKENIZER), &shown, TOKENIZER_LIMIT)?;
    TokenizerFacts::parse(&bytes)
        .map(Some)
        .map_err(|error| problem(&shown, format!("the tokenizer is malformed: {error}")))
}
