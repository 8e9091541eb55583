//! What the declaring crate calls `pipelines`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use proc_macro2::{Ident, Span};
use syn::Token;

use crate::checkpoints::{self, Stamp};
use crate::parse::Arguments;

/// The path of the crate that generated code refers to: the user's tokens, or located at the struct's name.
pub(super) fn crate_path(
    arguments: &Arguments,
    manifest_directory: Option<&Path>,
    name: &Ident,
) -> syn::Path {
    arguments.crate_path.clone().unwrap_or_else(|| {
        let span = Span::mixed_site().located_at(name.span());
        let renamed = manifest_directory.and_then(|directory| cached(directory.join("Cargo.toml")));
        let renamed = renamed.as_deref().unwrap_or("pipelines");
        let krate = Ident::new(renamed, span);
        syn::Path { leading_colon: Some(Token![::](span)), ..krate.into() }
    })
}

/// By manifest, what [`renamed`] says of it.
static RENAMED: Mutex<BTreeMap<PathBuf, (Stamp, Option<String>)>> = Mutex::new(BTreeMap::new());

/// The manifest is read for the first declaration of a crate, and when it has changed: an editor goes on expanding.
fn cached(manifest: PathBuf) -> Option<String> {
    let stamp = checkpoints::stamp(&manifest);
    let mut names = RENAMED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((before, name)) = names.get(&manifest)
        && *before == stamp
    {
        return name.clone();
    }
    let name = fs::read_to_string(&manifest).ok().as_deref().and_then(renamed);
    names.insert(manifest, (stamp, name.clone()));
    name
}

/// The name that a manifest gives to the package `pipelines`, where it depends on it by another:
/// `pipes = { package = "pipelines", ... }`.
///
/// Read line by line: a manifest that writes it otherwise, or inherits the name from its workspace, needs the key
/// `crate`. Where the name changes, cargo compiles the crate again by itself.
fn renamed(manifest: &str) -> Option<String> {
    const PACKAGE: &str = "package=\"pipelines\"";
    let mut dependencies = false;
    let mut dependency = None;
    let mut found = None;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|section| section.split(']').next()) {
            dependencies = section.ends_with("dependencies");
            dependency = section.rsplit_once("dependencies.").map(|(_, name)| name);
            if dependency == Some("pipelines") {
                return None;
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.replace([' ', '\t'], ""));
        if dependencies && (key == "pipelines" || key.starts_with("pipelines.")) {
            return None;
        }
        let is_package = key == "package" && value.starts_with("\"pipelines\"");
        if dependencies && value.contains(PACKAGE) {
            found = Some(key);
        } else if is_package && dependency.is_some() {
            found = dependency;
        }
    }
    // What cannot be the name of a crate is no name that cargo would have taken.
    let name = found?.trim_matches('"').replace('-', "_");
    syn::parse_str::<Ident>(&name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn a_renamed_dependency_is_found() {
        for manifest in [
            "[dependencies]\npipes = { package = \"pipelines\", version = \"1\" }",
            "[dependencies]\nserde = \"1\"\n\"pipes\" = { version = \"1\", package=\"pipelines\" } # ours",
            "[target.'cfg(unix)'.dependencies]\npipes = { path = \"x\", package = \"pipelines\" }",
            "[dependencies.pipes]\nversion = \"1\"\npackage = \"pipelines\"\n",
            "[dev-dependencies.pipes]\npackage = \"pipelines\" # ours",
        ] {
            assert_eq!(renamed(manifest).as_deref(), Some("pipes"), "{manifest}");
        }
        let dashed = "[dependencies]\nmy-pipes = { package = \"pipelines\" }";
        assert_eq!(renamed(dashed).as_deref(), Some("my_pipes"));
    }

    #[test]
    fn a_dependency_of_its_own_name_is_not_renamed() {
        for manifest in [
            "",
            "[package]\nname = \"pipelines\"",
            "[dependencies]\npipelines = \"1\"",
            "[dependencies]\npipelines.workspace = true",
            "[dependencies.pipelines]\nversion = \"1\"",
            "[dependencies]\npipelines = \"1\"\npipes = { package = \"pipelines\", version = \"0.9\" }",
            "[dependencies]\nself = { package = \"pipelines\" }",
            "[metadata]\npipes = { package = \"pipelines\" }",
        ] {
            assert_eq!(renamed(manifest), None, "{manifest}");
        }
    }
}
