//! Reads the small files of a checkpoint directory, none of them trusted.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The bytes of a file of at most `limit` bytes, or `None` where there is no such file.
///
/// A file that is no regular file (a pipe that would block, a device without end) is refused.
pub(super) fn read_if_present(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    // Asked before opening: opening a pipe waits for a writer.
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(path, error)),
    };
    if !metadata.is_file() {
        return Err(Error::malformed(path, "expected a file, found something else of this name"));
    }
    let file = File::open(path).map_err(|error| Error::file(path, error))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Error::file(path, error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::malformed(path, format!("expected at most {limit} bytes, found more")));
    }
    Ok(Some(bytes))
}

/// The text of a file of at most `limit` bytes, or `None` where there is no such file.
pub(super) fn read_text_if_present(path: &Path, limit: u64) -> Result<Option<String>> {
    let Some(bytes) = read_if_present(path, limit)? else { return Ok(None) };
    let text =
        String::from_utf8(bytes).map_err(|error| Error::malformed(path, format!("not UTF-8: {error}")))?;
    Ok(Some(text))
}

/// The JSON object in a file of at most `limit` bytes, or `None` where there is no such file.
pub(super) fn read_object_if_present(path: &Path, limit: u64) -> Result<Option<Map<String, Value>>> {
    let Some(bytes) = read_if_present(path, limit)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(other) => {
            Err(Error::malformed(path, format!("expected a JSON object, found {}", describe(&other))))
        }
        Err(error) => Err(Error::malformed(path, format!("not JSON: {error}"))),
    }
}

/// What kind of JSON value this is, in the words of an error.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_none_and_a_large_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.json");
        assert!(read_if_present(&path, 4).unwrap().is_none());
        std::fs::write(&path, b"1234").unwrap();
        assert_eq!(read_if_present(&path, 4).unwrap().unwrap(), b"1234");
        let error = read_if_present(&path, 3).unwrap_err().to_string();
        assert!(error.contains("file.json") && error.contains("at most 3 bytes"), "{error}");
        assert!(read_if_present(directory.path(), 3).is_err());
    }

    #[test]
    fn what_is_no_object_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.json");
        std::fs::write(&path, b"[1]").unwrap();
        let error = read_object_if_present(&path, 10).unwrap_err().to_string();
        assert!(error.ends_with("file.json: expected a JSON object, found a list"), "{error}");
        std::fs::write(&path, b"{\"a\"").unwrap();
        assert!(read_object_if_present(&path, 10).unwrap_err().to_string().contains("not JSON"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text_if_present(&path, 10).unwrap_err().to_string().contains("not UTF-8"));
    }
}
