//! Checkpoints read in this process: many declarations name the same one, and an editor expands each many times.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use pipeline_schema::Problem;
use pipeline_schema::checkpoint::{Checkpoint, snapshot};

/// Length and time of the last change of a file, where it exists.
pub(crate) type Stamp = Option<(u64, SystemTime)>;

struct Entry {
    checkpoint: Arc<Checkpoint>,
    stamps: Vec<(PathBuf, Stamp)>,
}

/// By directory or snapshot, and by the declared model. The path begins with that of the crate's manifest: one process
/// of an editor serves many crates.
type Entries = HashMap<(PathBuf, String), Entry>;

static ENTRIES: Mutex<Option<Entries>> = Mutex::new(None);

/// The checkpoint in the directory that is declared as `model`, or, where that is absent, what its snapshot says of it;
/// read again when one of the files has changed. `None` where there is neither.
pub(crate) fn read(root: &Path, model: &str) -> Option<Result<Arc<Checkpoint>, Problem>> {
    let (directory, snapshot) = (root.join(model), root.join(snapshot::path(model)));
    if directory.exists() {
        return Some(cached(directory.clone(), model, || Checkpoint::read_shown(&directory, model)));
    }
    // A dangling link is a mistake of its own, which reading it names.
    let prepared = snapshot.symlink_metadata().is_ok();
    prepared.then(|| cached(snapshot, model, || snapshot::read(root, model)))
}

fn cached(
    path: PathBuf,
    model: &str,
    read: impl FnOnce() -> Result<Checkpoint, Problem>,
) -> Result<Arc<Checkpoint>, Problem> {
    let key = (path, model.to_owned());
    let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = entries.get_or_insert_default();
    if let Some(entry) = entries.get(&key)
        && entry.stamps.iter().all(|(path, before)| stamp(path) == *before)
    {
        return Ok(Arc::clone(&entry.checkpoint));
    }
    let checkpoint = Arc::new(read()?);
    let stamps = files(&checkpoint).map(|path| (path.clone(), stamp(&path))).collect();
    entries.insert(key, Entry { checkpoint: Arc::clone(&checkpoint), stamps });
    Ok(checkpoint)
}

/// Everything that the facts come from; the directory itself changes when a file comes or goes.
fn files(checkpoint: &Checkpoint) -> impl Iterator<Item = PathBuf> {
    let directory = checkpoint.directory();
    let weights = checkpoint.files().iter().map(|file| directory.join(&file.name)).collect::<Vec<_>>();
    let beside = ["model.safetensors.index.json", "tokenizer.json"].map(|file| directory.join(file));
    [directory.to_owned()].into_iter().chain(beside).chain(checkpoint.tracked().to_vec()).chain(weights)
}

pub(crate) fn stamp(path: &Path) -> Stamp {
    let metadata = path.metadata().ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
