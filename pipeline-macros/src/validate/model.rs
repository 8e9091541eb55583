//! The rules of `model = "..."`, and the checkpoint it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipeline_schema::ArchitectureSpec;
use pipeline_schema::checkpoint::{Checkpoint, snapshot};
use syn::LitStr;

use super::shared::message;
use crate::checkpoints;
use crate::error::Errors;
use crate::model::Model;
use crate::parse::Arguments;

/// Reads the headers of the declared model, or its snapshot; not of a model that nothing here knows how to read, since
/// its architecture does not run yet.
pub(super) fn read(
    arguments: &Arguments,
    architecture: Option<&ArchitectureSpec>,
    manifest_directory: Option<&Path>,
    errors: &mut Errors,
) -> Option<Arc<Checkpoint>> {
    let path = arguments.model.as_ref()?;
    let root = root(path, manifest_directory, errors)?;
    if architecture.is_some_and(|architecture| !architecture.runs()) {
        return None;
    }
    let Some(checkpoint) = checkpoints::read(root, &path.value()) else {
        errors.push(path, absent(root, &path.value()));
        return None;
    };
    checkpoint.map_err(|problem| errors.push(path, message(&problem))).ok()
}

/// What of the checkpoint goes into the generated code.
pub(super) fn declared(
    arguments: &Arguments,
    manifest_directory: Option<&Path>,
    checkpoint: &Checkpoint,
) -> Option<Model> {
    let path = arguments.model.clone()?;
    let root = manifest_directory?;
    let relative = |file: &PathBuf| Some(file.strip_prefix(root).ok()?.to_str()?.to_owned());
    let tracked = checkpoint.tracked().iter().filter_map(relative).collect();
    Some(Model { path, header_hash: checkpoint.header_hash(), tracked })
}

/// A model is given relative to the declaring crate, so that the declaration means the same to everyone who builds it.
fn root<'a>(path: &LitStr, manifest_directory: Option<&'a Path>, errors: &mut Errors) -> Option<&'a Path> {
    let text = path.value();
    if text.is_empty() {
        errors.push(path, "the path of the model is empty; write `model = \"checkpoints/my-model\"`");
        return None;
    }
    if is_absolute(&text) {
        let instead = "write it relative to the directory of this crate's `Cargo.toml`, or load it with `from_pretrained`";
        errors.push(path, format!("the path of the model is absolute; {instead}"));
        return None;
    }
    if manifest_directory.is_none() {
        errors.push(path, "a model is looked for beside `Cargo.toml`, but `CARGO_MANIFEST_DIR` is not set; build with cargo");
    }
    manifest_directory
}

/// A model is a directory, or has a snapshot that was prepared where the directory is.
fn absent(root: &Path, model: &str) -> String {
    if let Some(above) = above(root, model) {
        return format!(
            "there is no directory `{model}` beside this crate's `Cargo.toml`; did you mean `{above}`?"
        );
    }
    let snapshot = snapshot::path(model);
    format!(
        "there is neither a directory `{model}` nor its snapshot `{snapshot}` beside this crate's `Cargo.toml`; \
         run `pipelines prepare` where the checkpoint is and commit the snapshot, or leave `model` out to load one \
         with `from_pretrained`"
    )
}

/// Absolute on any system, so that a declaration is right or wrong on all alike.
fn is_absolute(path: &str) -> bool {
    let drive = path.get(1..2) == Some(":");
    Path::new(path).is_absolute() || path.starts_with(['/', '\\', '~']) || drive
}

/// The same path in a directory above, where people look who are used to paths from a workspace's root.
fn above(root: &Path, path: &str) -> Option<String> {
    let up = (1..=3).map(|levels| format!("{}{path}", "../".repeat(levels)));
    up.into_iter().find(|path| root.join(path).is_dir())
}

#[cfg(test)]
mod tests {
    use super::is_absolute;

    #[test]
    fn absolute_on_one_system_is_absolute_on_all() {
        for path in ["/models/tiny", "C:\\models\\tiny", "C:/models/tiny", "\\\\server\\models", "~/models"] {
            assert!(is_absolute(path), "{path}");
        }
        for path in ["models/tiny", "../models/tiny", "./m", "m", "é:"] {
            assert!(!is_absolute(path), "{path}");
        }
    }
}
