//! Reading small files whole, within a limit.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::problem::{Problem, Subject};

/// `file` in the directory that is called `directory`.
pub(super) fn shown(directory: &str, file: &str) -> String {
    match directory.trim_end_matches(['/', '\\']) {
        "" | "." => file.to_owned(),
        directory => format!("{directory}/{file}"),
    }
}

/// A problem with the checkpoint itself, found in the file called `shown`.
pub(super) fn problem(shown: &str, message: impl Into<String>) -> Problem {
    Problem::new(Subject::Model, message).found_in(shown)
}

/// Opens a regular file and returns its length in bytes.
///
/// What it is is asked before it is opened: opening a named pipe would wait for its writer.
pub(super) fn open(path: &Path, shown: &str) -> Result<(File, u64), Problem> {
    let unreadable = |error: std::io::Error| problem(shown, format!("the file cannot be read: {error}"));
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(problem(shown, "expected a file, found something else of that name"));
    }
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    Ok((file, length))
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read(path: &Path, shown: &str, limit: u64) -> Result<Vec<u8>, Problem> {
    let (file, length) = open(path, shown)?;
    let too_large =
        |length| problem(shown, format!("the file has {length} bytes, more than the limit of {limit}"));
    if length > limit {
        return Err(too_large(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| problem(shown, format!("the file cannot be read: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
