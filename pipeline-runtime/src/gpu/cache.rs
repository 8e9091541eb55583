//! Machine code on disk, so that a kernel is compiled once a machine.
//!
//! A file holds the hash of the code and the code. It is written beside its place and renamed; one that is damaged
//! or cut is compiled again.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use sha2::{Digest, Sha256};

const HASH: usize = 32;

/// Where machine code is kept: `PIPELINES_CACHE`, else `pipelines/kernels` in the user's cache directory. `None` when
/// neither is known, or `PIPELINES_CACHE` is empty.
pub fn directory() -> Option<PathBuf> {
    match env::var_os("PIPELINES_CACHE") {
        Some(directory) if directory.is_empty() => None,
        Some(directory) => Some(PathBuf::from(directory)),
        None => {
            let cache = match env::var_os("XDG_CACHE_HOME") {
                Some(cache) if !cache.is_empty() => PathBuf::from(cache),
                _ => PathBuf::from(env::var_os("HOME")?).join(".cache"),
            };
            Some(cache.join("pipelines").join("kernels"))
        }
    }
}

/// The name of the file for a source, a chip and a compiler.
pub fn file_name(name: &str, source: &str, target: &str, compiler: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [source, target, compiler] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash: String = hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{target}-{hash}")
}

/// The code of a file; `None` when there is none, or it is not whole.
pub fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let (hash, code) = bytes.split_at_checked(HASH)?;
    if Sha256::digest(code).as_slice() != hash {
        return None;
    }
    Some(bytes.split_off(HASH))
}

/// Keeps code for the next time. A cache that cannot be written only costs time.
pub fn write(path: &Path, code: &[u8]) {
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let beside = path.with_extension(process::id().to_string());
        fs::write(&beside, [Sha256::digest(code).as_slice(), code].concat())?;
        fs::rename(&beside, path)
    };
    let _ = write();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels").join(file_name("norm", "source", "sm_90a", "NVRTC 13.0"));
        assert_eq!(read(&path), None);
        write(&path, b"machine code");
        assert_eq!(read(&path).as_deref(), Some(b"machine code".as_slice()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn damaged_files_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("norm");
        write(&path, b"machine code");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(&path), None, "cut after {length} bytes");
        }
        for index in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path), None, "byte {index} changed");
        }
    }

    #[test]
    fn source_chip_and_compiler_each_make_another_file() {
        let names = [
            file_name("norm", "source", "sm_90a", "NVRTC 13.0"),
            file_name("norm", "source ", "sm_90a", "NVRTC 13.0"),
            file_name("norm", "source", "sm_80", "NVRTC 13.0"),
            file_name("norm", "source", "sm_90a", "NVRTC 13.1"),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
