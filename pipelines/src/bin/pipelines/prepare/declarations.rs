//! Finding the models that Rust sources declare.
//!
//! The sources are split into tokens and not parsed: a declaration is found wherever it stands, in a function, a module
//! behind a `cfg` or the body of a macro. What is not found is one whose path a macro makes, or whose attribute goes by
//! another name than `pipeline`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A model that a crate declares.
pub(super) struct Declared {
    /// The directory of the crate's manifest.
    pub(super) root: PathBuf,
    /// The path as declared.
    pub(super) model: String,
    /// The first source that declares it.
    pub(super) source: PathBuf,
}

/// The models declared in the Rust sources below `directory`, each once for every crate, in the order of their paths.
pub(super) fn declared_models(directory: &Path) -> Result<Vec<Declared>, String> {
    if !directory.is_dir() {
        return Err(format!("{}: expected the directory of a crate or of a workspace", directory.display()));
    }
    let mut sources = Vec::new();
    collect_sources(directory, &mut sources)?;
    sources.sort();
    let mut declared: BTreeMap<(PathBuf, String), Declared> = BTreeMap::new();
    for source in sources {
        let text = fs::read_to_string(&source).map_err(|error| format!("{}: {error}", source.display()))?;
        // Most sources need no closer look.
        if !text.contains("pipeline") {
            continue;
        }
        // What is no Rust is not compiled either: templates, and tests of compilers.
        let Ok(tokens) = text.parse::<TokenStream>() else { continue };
        let mut models = Vec::new();
        models_in(tokens, &mut models);
        for model in models {
            let root = manifest_directory(&source)
                .ok_or_else(|| format!("{}: there is no `Cargo.toml` above this file", source.display()))?;
            declared
                .entry((root.clone(), pipelines::schema::checkpoint::snapshot::path(&model)))
                .or_insert_with(|| Declared { root, model, source: source.clone() });
        }
    }
    Ok(declared.into_values().collect())
}

/// Adds the Rust sources below `directory`. Hidden directories and those that tools fill are left out.
fn collect_sources(directory: &Path, sources: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && !path.join("CACHEDIR.TAG").exists() {
                collect_sources(&path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    Ok(())
}

/// The nearest directory above that has a manifest.
fn manifest_directory(source: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(source).ok()?;
    let depth = absolute.ancestors().skip(1).position(|directory| directory.join("Cargo.toml").is_file())?;
    // As relative as the source was, where that reaches far enough.
    let given = source.ancestors().nth(depth + 1).filter(|given| !given.as_os_str().is_empty());
    given.or_else(|| absolute.ancestors().nth(depth + 1)).map(Path::to_owned)
}

/// Adds what `#[pipeline(..., model = "...")]` declares, anywhere in `tokens`.
fn models_in(tokens: TokenStream, models: &mut Vec<String>) {
    let mut after_hash = false;
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            if after_hash && group.delimiter() == Delimiter::Bracket {
                models_of_attribute(group.stream(), models);
            } else {
                models_in(group.stream(), models);
            }
        }
        after_hash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
    }
}

/// `pipeline(...)`, `pipelines::pipeline(...)`, or the same in a `cfg_attr(..., ...)`.
fn models_of_attribute(attribute: TokenStream, models: &mut Vec<String>) {
    let mut after_name = false;
    for token in attribute {
        if let TokenTree::Group(group) = &token {
            if after_name && group.delimiter() == Delimiter::Parenthesis {
                models.extend(model(group.stream()));
            } else {
                models_of_attribute(group.stream(), models);
            }
        }
        after_name = matches!(&token, TokenTree::Ident(name) if name == "pipeline");
    }
}

/// The value of `model = "..."`. A path that is absolute or empty is an error of the compiler's and has no snapshot.
fn model(arguments: TokenStream) -> Option<String> {
    let tokens: Vec<TokenTree> = arguments.into_iter().collect();
    let value = tokens.windows(3).find_map(|window| match window {
        [TokenTree::Ident(key), TokenTree::Punct(equals), TokenTree::Literal(value)]
            if key == "model" && equals.as_char() == '=' =>
        {
            text(&value.to_string())
        }
        _ => None,
    })?;
    (!value.is_empty() && !Path::new(&value).is_absolute()).then_some(value)
}

/// The text of a literal: `"..."` or `r"..."`.
fn text(literal: &str) -> Option<String> {
    if literal.starts_with('"') {
        // Paths have no escapes but those that JSON has, too.
        return serde_json::from_str(literal).ok();
    }
    let raw = literal.strip_prefix('r')?.trim_matches('#');
    raw.strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::models_in;

    fn models(source: &str) -> Vec<String> {
        let mut models = Vec::new();
        models_in(source.parse().unwrap(), &mut models);
        models
    }

    #[test]
    fn declarations_are_found_wherever_they_stand() {
        let source = r##"
            //! #[pipeline(model = "a/doc/comment")]
            #[pipeline(arch = moe, model = "models/a")]
            struct A;
            fn inside() {
                #[pipelines::pipeline(model = r#"models/b"#, hardware = [cpu])]
                struct B { #[param(default = 2)] num_active_experts: usize }
            }
            mod deeper { mod still { #[cfg_attr(feature = "x", pipeline(arch = moe, model = "models\\c"))] struct C; } }
            macro_rules! declare { ($name:ident) => { #[pipeline(model = "models/d")] struct $name; } }
            #[pipeline(arch = moe)]
            struct WithoutModel;
            #[another(model = "models/e")]
            struct Another;
            const TEXT: &str = "#[pipeline(model = \"models/f\")]";
            #[pipeline(model = concat!("models", "/g"))]
            struct Made;
            #[pipeline(model = "/opt/models/absolute")]
            struct Absolute;
        "##;
        assert_eq!(models(source), ["models/a", "models/b", "models\\c", "models/d"]);
    }
}
