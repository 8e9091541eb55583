//! What a checkpoint says of itself: `config.json`, shard index, safetensors headers, tokenizer.
//!
//! Only small files and headers are read, never a weight. Everything read is untrusted: a size is checked
//! before it is allocated, an offset before it is kept, a path before it is opened.

mod hash;
mod index;
mod json;
mod plain;
mod read;
mod safetensors;
mod scan;
pub mod snapshot;
mod tensor;
mod tokenizer;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};

pub use self::tensor::{StoredDtype, TensorInfo, Tensors};
pub use self::tokenizer::TokenizerFacts;
use crate::models::{Head, ModelConfig};
use crate::problem::Problem;

/// Longest safetensors header that is read, in bytes: the limit of the reference implementation.
pub const HEADER_LIMIT: u64 = 100_000_000;

/// The facts of a checkpoint in the layout of Hugging Face.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    /// What problems call the directory, or the snapshot.
    shown: String,
    origin: Origin,
    config: Map<String, Value>,
    model_type: String,
    tensors: Tensors,
    files: Vec<WeightFile>,
    tracked: Vec<PathBuf>,
    tokenizer: Option<TokenizerFacts>,
    header_hash: u64,
    tensor_problems: OnceLock<Vec<Problem>>,
}

/// What the facts were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The checkpoint itself.
    Directory,
    /// A [`snapshot`] of it.
    Snapshot,
}

/// One file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFile {
    /// The name inside the checkpoint's directory; never a path.
    pub name: String,
    /// Length of the whole file in bytes, as it was when its header was read.
    pub length: u64,
    /// Length of the JSON header in bytes; the tensors' bytes begin 8 bytes after that.
    pub header_length: u64,
}

impl Checkpoint {
    /// Reads the facts of the checkpoint in `directory`.
    ///
    /// Reads `config.json`, then `model.safetensors` or else `model.safetensors.index.json` and its shards
    /// (their headers only), and of `tokenizer.json`, where there is one, the size of its vocabulary.
    ///
    /// # Errors
    ///
    /// The first thing wrong, naming file, field or tensor, what was expected and what was found: a file is
    /// missing, unreadable, truncated, larger than its limit or malformed, or two files contradict each other.
    pub fn read(directory: &Path) -> Result<Checkpoint, Problem> {
        Checkpoint::read_shown(directory, &directory.display().to_string())
    }

    /// Reads the checkpoint in `directory`, and calls that directory `shown` in problems: a declaration is
    /// told of the path that it wrote, not of where it happens to lie.
    ///
    /// # Errors
    ///
    /// As [`read`](Checkpoint::read).
    pub fn read_shown(directory: &Path, shown: &str) -> Result<Checkpoint, Problem> {
        read::read(directory, shown)
    }

    /// The directory of the checkpoint. Where a [`snapshot`] was read, it need not be there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `file` of this checkpoint as problems call it: `checkpoints/storyteller-moe/config.json`, or, where a
    /// [`snapshot`] was read, `.pipelines/checkpoints--storyteller-moe.json: config`.
    pub fn shown(&self, file: &str) -> String {
        match self.origin {
            Origin::Directory => json::shown(&self.shown, file),
            Origin::Snapshot => snapshot::located(&self.shown, file),
        }
    }

    /// The whole of `config.json`.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// `model_type` of `config.json`: which model this is.
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// Every tensor of every file, by name.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// The files of weights; [`TensorInfo::file`] counts in them.
    pub fn files(&self) -> &[WeightFile] {
        &self.files
    }

    /// `config.json`, or the [`snapshot`]: whoever depends on the facts depends on these. The weights and what comes
    /// with them are told apart by [`header_hash`](Checkpoint::header_hash).
    pub fn tracked(&self) -> &[PathBuf] {
        &self.tracked
    }

    /// What `tokenizer.json` says, where there is one.
    pub fn tokenizer(&self) -> Option<TokenizerFacts> {
        self.tokenizer
    }

    /// A hash of the names and headers of the weight files, the same on every platform.
    ///
    /// It tells one checkpoint's layout from another's; it does not cover the weights themselves.
    pub fn header_hash(&self) -> u64 {
        self.header_hash
    }

    /// The model's configuration.
    ///
    /// # Errors
    ///
    /// `model_type` is unknown, or fields of `config.json` are missing or cannot be what they are: all of them.
    pub fn model(&self) -> Result<ModelConfig, Vec<Problem>> {
        ModelConfig::from_json(&self.config)
            .map_err(|problems| problems.into_iter().map(|problem| self.locate(problem)).collect())
    }

    /// What stands on top of the model, by `architectures` of `config.json` or, without it, by the tensors.
    ///
    /// # Errors
    ///
    /// `architectures` names a head that is not known for this model.
    pub fn head(&self) -> Result<Head, Problem> {
        Head::of(&self.config, &self.tensors).map_err(|problem| self.locate(problem))
    }

    /// Bytes of all tensors together.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, tensor)| tensor.range.end - tensor.range.start).sum()
    }

    /// What is wrong with the tensors, found by `check` once: that depends on nothing but the checkpoint.
    pub(crate) fn tensor_problems(&self, check: impl FnOnce() -> Vec<Problem>) -> Vec<Problem> {
        self.tensor_problems.get_or_init(check).clone()
    }

    /// Puts the checkpoint's directory before a source that begins with a file of it.
    fn locate(&self, problem: Problem) -> Problem {
        match problem.source {
            Some(source) => Problem { source: Some(self.shown(&source)), ..problem },
            None => problem,
        }
    }
}
