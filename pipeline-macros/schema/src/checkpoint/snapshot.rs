//! The facts of a checkpoint as one small file that a crate commits, to be checked where the checkpoint is not.
//!
//! ```json
//! {
//!   "format": 1,
//!   "model": "checkpoints/storyteller-moe",
//!   "header_hash": "83ded10aeaa9ddae",
//!   "config": { "model_type": "mixtral", ... },
//!   "tokenizer": {"vocabulary_size": 2048},
//!   "files": [
//!     {
//!       "name": "model.safetensors",
//!       "length": 5542384,
//!       "header_length": 17352,
//!       "tensors": {
//!         "lm_head.weight": {"dtype": "BF16", "shape": [2048, 192], "data_offsets": [0, 786432]},
//!         ...
//!       }
//!     }
//!   ]
//! }
//! ```
//!
//! The tensors are described as in a safetensors header and held to the same rules. The text depends on nothing but the
//! facts: keys are sorted, and every tensor has a line of its own, so that a change can be reviewed.

use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::json::{self, problem};
use super::scan::Scanner;
use super::tensor::{TensorInfo, Tensors};
use super::{Checkpoint, HEADER_LIMIT, Origin, TokenizerFacts, WeightFile, index, read, safetensors};
use crate::problem::{Problem, quoted};

/// The version of the format, counted up whenever the meaning of a field changes.
const FORMAT: u64 = 1;

/// Longest snapshot that is read, in bytes: some 500,000 tensors.
const LIMIT: u64 = 100_000_000;

/// Longest `config` that is parsed, in bytes.
const CONFIG_LIMIT: usize = 8_000_000;

/// What to do about a snapshot that cannot be used.
const REMEDY: &str = "write it again with `pipelines prepare`";

/// Where the snapshot of `model` is, relative to the directory of the declaring crate's manifest.
///
/// It is named by the whole path, as two models may end in the same name.
///
/// ```
/// use pipeline_schema::checkpoint::snapshot;
/// assert_eq!(snapshot::path("checkpoints/storyteller-moe"), ".pipelines/checkpoints--storyteller-moe.json");
/// assert_eq!(snapshot::path("./tiny/"), snapshot::path("tiny"));
/// ```
pub fn path(model: &str) -> String {
    format!(".pipelines/{}.json", normal(model, "--"))
}

/// The text of the snapshot of a checkpoint that is declared as `model`.
pub fn write(checkpoint: &Checkpoint, model: &str) -> String {
    let mut config = Value::Object(checkpoint.config().clone());
    config.sort_all_objects();
    let config = format!("{config:#}").replace('\n', "\n  ");
    let tokenizer = match checkpoint.tokenizer() {
        Some(TokenizerFacts { vocabulary_size }) => format!("{{\"vocabulary_size\": {vocabulary_size}}}"),
        None => "null".to_owned(),
    };
    let mut tensors: Vec<Vec<String>> = vec![Vec::new(); checkpoint.files().len()];
    for (name, tensor) in checkpoint.tensors().iter() {
        let start = 8 + checkpoint.files()[tensor.file].header_length;
        let (first, end) = (tensor.range.start - start, tensor.range.end - start);
        let (name, dtype) = (Value::from(name), Value::from(tensor.dtype.name()));
        let shape = &tensor.shape;
        tensors[tensor.file].push(format!(
            "\n        {name}: {{\"dtype\": {dtype}, \"shape\": {shape:?}, \"data_offsets\": [{first}, {end}]}}"
        ));
    }
    let file = |(file, tensors): (&WeightFile, &Vec<String>)| {
        let WeightFile { name, length, header_length } = file;
        let (name, tensors) = (Value::from(name.as_str()), tensors.join(","));
        format!(
            "\n    {{\n      \"name\": {name},\n      \"length\": {length},\n      \"header_length\": {header_length},\n      \
             \"tensors\": {{{tensors}\n      }}\n    }}"
        )
    };
    let files: Vec<String> = checkpoint.files().iter().zip(&tensors).map(file).collect();
    let mut text =
        format!("{{\n  \"format\": {FORMAT},\n  \"model\": {},\n", Value::from(normal(model, "/")));
    write!(text, "  \"header_hash\": \"{:016x}\",\n  \"config\": {config},\n", checkpoint.header_hash())
        .and_then(|()| {
            write!(text, "  \"tokenizer\": {tokenizer},\n  \"files\": [{}\n  ]\n}}\n", files.join(","))
        })
        .expect("a text can be written to");
    text
}

/// Reads the snapshot of `model` in the crate whose manifest is in `manifest_directory`.
///
/// # Errors
///
/// The file is missing, unreadable, larger than its limit or malformed, naming file and field: it is as untrusted as a
/// checkpoint.
pub fn read(manifest_directory: &Path, model: &str) -> Result<Checkpoint, Problem> {
    let shown = path(model);
    let file = manifest_directory.join(&shown);
    let bytes = json::read(&file, &shown, LIMIT)?;
    let malformed = |error: String| problem(&shown, format!("the snapshot is malformed: {error}; {REMEDY}"));
    let Parts { model: of, header_hash, config, tokenizer, files, tensors } =
        Parts::parse(&bytes).map_err(malformed)?;
    if of != normal(model, "/") {
        let (of, model) = (quoted(&of), quoted(model));
        return Err(problem(&shown, format!("the snapshot is of the model {of}, not {model}; {REMEDY}")));
    }
    let tensors = Tensors::new(tensors)
        .map_err(|twice| malformed(format!("`files`: tensor {} is there twice", quoted(&twice[0].0))))?;
    let model_type = read::model_type(&config, |field| located(&shown, field))?;
    Ok(Checkpoint {
        directory: manifest_directory.join(model),
        shown,
        origin: Origin::Snapshot,
        config,
        model_type,
        tensors,
        files,
        tracked: vec![file],
        tokenizer,
        header_hash,
        tensor_problems: OnceLock::new(),
    })
}

/// What problems call `file` of a checkpoint, where it begins with the name of one, in the snapshot called `snapshot`.
pub(super) fn located(snapshot: &str, file: &str) -> String {
    if let Some(field) = file.strip_prefix("config.json: ") {
        return format!("{snapshot}: config.{field}");
    }
    match file {
        "config.json" => format!("{snapshot}: config"),
        "tokenizer.json" => format!("{snapshot}: tokenizer"),
        _ => format!("{snapshot}: {file}"),
    }
}

/// The path of a model as every spelling of it has it, its components joined with `separator`.
fn normal(model: &str, separator: &str) -> String {
    let components = model.split(['/', '\\']).filter(|component| !matches!(*component, "" | "."));
    match components.collect::<Vec<_>>().as_slice() {
        [] => ".".to_owned(),
        components => components.join(separator),
    }
}

/// The fields of a snapshot.
struct Parts {
    model: String,
    header_hash: u64,
    config: Map<String, Value>,
    tokenizer: Option<TokenizerFacts>,
    files: Vec<WeightFile>,
    tensors: Vec<(String, TensorInfo)>,
}

impl Parts {
    fn parse(json: &[u8]) -> Result<Parts, String> {
        let mut scanner = Scanner::new(json)?;
        let (mut format, mut model, mut header_hash, mut config) = (None, None, None, None);
        let (mut tokenizer, mut files, mut tensors) = (None, Vec::new(), Vec::new());
        scanner.object("an object with `format`", |scanner, key| {
            let of_key = |error: String| format!("`{key}`: {error}");
            match &*key {
                "format" => format = Some(read_format(scanner).map_err(of_key)?),
                "model" => model = Some(scanner.string("a path").map_err(of_key)?.into_owned()),
                "header_hash" => header_hash = Some(read_hash(scanner).map_err(of_key)?),
                "config" => config = Some(read_config(scanner).map_err(of_key)?),
                "tokenizer" => tokenizer = Some(read_tokenizer(scanner).map_err(of_key)?),
                "files" => scanner.list("a list of files", |scanner| {
                    let number = files.len();
                    let file = read_file(scanner, number, &mut tensors)
                        .map_err(|error| format!("`files[{number}]`: {error}"))?;
                    files.push(file);
                    Ok(())
                })?,
                _ => return Err(format!("unknown field {}", quoted(&key))),
            }
            Ok(())
        })?;
        scanner.end()?;
        format.ok_or("`format` is missing")?;
        if files.is_empty() {
            return Err("`files` names no file".to_owned());
        }
        Ok(Parts {
            model: model.ok_or("`model` is missing")?,
            header_hash: header_hash.ok_or("`header_hash` is missing")?,
            config: config.ok_or("`config` is missing")?,
            tokenizer: tokenizer.ok_or("`tokenizer` is missing")?,
            files,
            tensors,
        })
    }
}

fn read_format(scanner: &mut Scanner<'_>) -> Result<(), String> {
    match scanner.unsigned("a version")? {
        FORMAT => Ok(()),
        other => {
            Err(format!("version {other} was written by another version of `pipelines`, expected {FORMAT}"))
        }
    }
}

/// 16 hexadecimal digits: numbers of JSON have not as many bits.
fn read_hash(scanner: &mut Scanner<'_>) -> Result<u64, String> {
    let hash = scanner.string("16 hexadecimal digits")?;
    if hash.len() == 16 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(u64::from_str_radix(&hash, 16).expect("16 hexadecimal digits are 64 bits"));
    }
    Err(format!("expected 16 hexadecimal digits, found {}", quoted(&hash)))
}

fn read_config(scanner: &mut Scanner<'_>) -> Result<Map<String, Value>, String> {
    let text = scanner.raw()?;
    if text.len() > CONFIG_LIMIT {
        return Err(format!("it has {} bytes, more than the limit of {CONFIG_LIMIT}", text.len()));
    }
    serde_json::from_str(text).map_err(|error| format!("malformed JSON: {error}"))
}

fn read_tokenizer(scanner: &mut Scanner<'_>) -> Result<Option<TokenizerFacts>, String> {
    if scanner.null() {
        return Ok(None);
    }
    let mut size = None;
    scanner.object("an object with `vocabulary_size` or `null`", |scanner, key| {
        match &*key {
            "vocabulary_size" => size = Some(scanner.unsigned("a size")?),
            _ => return Err(format!("unknown field {}", quoted(&key))),
        }
        Ok(())
    })?;
    let size = size.ok_or("`vocabulary_size` is missing")?;
    if !(1..=1 << 31).contains(&size) {
        return Err(format!("`vocabulary_size` {size} is not the size of a vocabulary"));
    }
    Ok(Some(TokenizerFacts { vocabulary_size: size as usize }))
}

/// A file of weights, its tensors as in its header.
fn read_file(
    scanner: &mut Scanner<'_>,
    number: usize,
    tensors: &mut Vec<(String, TensorInfo)>,
) -> Result<WeightFile, String> {
    let (mut name, mut length, mut header_length) = (None, None, None);
    let first = tensors.len();
    scanner.object("an object with `name`", |scanner, key| {
        let of_key = |error: String| format!("`{key}`: {error}");
        match &*key {
            "name" => name = Some(scanner.string("the name of a file").map_err(of_key)?.into_owned()),
            "length" => length = Some(scanner.unsigned("a length").map_err(of_key)?),
            "header_length" => header_length = Some(scanner.unsigned("a length").map_err(of_key)?),
            "tensors" => safetensors::tensors(scanner, number, tensors).map_err(of_key)?,
            _ => return Err(format!("unknown field {}", quoted(&key))),
        }
        Ok(())
    })?;
    let name = name.ok_or("`name` is missing")?;
    if !index::is_file_name(&name) {
        return Err(format!("`name` is {}, expected the name of a file, not a path", quoted(&name)));
    }
    let length = length.ok_or("`length` is missing")?;
    let header_length = header_length.ok_or("`header_length` is missing")?;
    let Some(data) = length.checked_sub(8).and_then(|rest| rest.checked_sub(header_length)) else {
        return Err(format!(
            "`length` {length} is less than a header of `header_length` {header_length} takes"
        ));
    };
    if header_length > HEADER_LIMIT {
        return Err(format!("`header_length` {header_length} is more than the limit of {HEADER_LIMIT}"));
    }
    safetensors::lay_out(&mut tensors[first..], header_length, data)
        .map_err(|error| format!("`tensors`: {error}"))?;
    Ok(WeightFile { name, length, header_length })
}
