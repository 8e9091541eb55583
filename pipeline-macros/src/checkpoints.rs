//! Checkpoints read in this process: many declarations name the same one, and an editor expands each many times.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use pipeline_schema::Problem;
use pipeline_schema::checkpoint::Checkpoint;

/// Length and time of the last change of a file, where it exists.
type Stamp = Option<(u64, SystemTime)>;

struct Entry {
    checkpoint: Arc<Checkpoint>,
    stamps: Vec<(PathBuf, Stamp)>,
}

/// By directory and by the name that problems give it. The directory begins with that of the crate's manifest: one
/// process of an editor serves many crates.
type Entries = HashMap<(PathBuf, String), Entry>;

static ENTRIES: Mutex<Option<Entries>> = Mutex::new(None);

/// The checkpoint in `directory`, called `shown` in problems; read again when one of its files has changed.
pub(crate) fn read(directory: &Path, shown: &str) -> Result<Arc<Checkpoint>, Problem> {
    let key = (directory.to_owned(), shown.to_owned());
    let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = entries.get_or_insert_default();
    if let Some(entry) = entries.get(&key)
        && entry.stamps.iter().all(|(path, before)| stamp(path) == *before)
    {
        return Ok(Arc::clone(&entry.checkpoint));
    }
    let checkpoint = Arc::new(Checkpoint::read_shown(directory, shown)?);
    let stamps = files(directory, &checkpoint).map(|path| (path.clone(), stamp(&path))).collect();
    entries.insert(key, Entry { checkpoint: Arc::clone(&checkpoint), stamps });
    Ok(checkpoint)
}

/// Everything that the facts come from; the directory itself changes when a file comes or goes.
fn files(directory: &Path, checkpoint: &Checkpoint) -> impl Iterator<Item = PathBuf> {
    let weights = checkpoint.files().iter().map(|file| directory.join(&file.name)).collect::<Vec<_>>();
    let tokenizer = directory.join("tokenizer.json");
    [directory.to_owned(), tokenizer].into_iter().chain(checkpoint.tracked().to_vec()).chain(weights)
}

fn stamp(path: &Path) -> Stamp {
    let metadata = path.metadata().ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
