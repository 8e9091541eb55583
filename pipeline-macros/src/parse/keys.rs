//! The keys of `#[pipeline(...)]` and `#[param(...)]`, each with its place in the source.

use darling::ast::NestedMeta;
use pipeline_schema::suggest;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::{Error, Expr, Meta, Path, Result};

use super::items::Items;
use crate::error::Errors;

/// What `#[pipeline(...)]` takes, and what an editor says of it.
pub(crate) const PIPELINE_KEYS: [Key; 11] = [
    Key::new(
        "arch",
        "The architecture: a name, or the path of a type that implements `pipelines::Architecture`.",
    ),
    Key::new(
        "task",
        "What the pipeline does, as Hugging Face calls it; the architecture's first task without it.",
    ),
    Key::new("hardware", "Where the pipeline may run, the most wanted first: `[cuda, rocm, cpu]`."),
    Key::new(
        "model",
        "The directory of a checkpoint beside `Cargo.toml`, in quotes: read and checked while compiling.",
    ),
    Key::new("dtype", "The number format of the weights; the checkpoint's without it."),
    Key::new(
        "preprocess",
        "The path of a function that does the first stage: inputs become what the model reads.",
    ),
    Key::new(
        "route",
        "The path of a function that does the second stage: what the model is to do is decided.",
    ),
    Key::new("infer", "The path of a function that does the third stage: the model runs."),
    Key::new(
        "format",
        "The path of a function that does the last stage: what the model gave becomes the output.",
    ),
    Key::new("custom", "The stages that you implement yourself: `custom(format)` with an `impl Format`."),
    Key::new("crate", "The path of the crate `pipelines`, where it is renamed or re-exported."),
];

/// What `#[param(...)]` takes.
pub(crate) const PARAM_KEYS: [Key; 2] = [
    Key::new(
        "default",
        "The value that the parameter starts with: a literal of its type, or a list of texts.",
    ),
    Key::new("range", "The range that the value is held to when the pipeline is loaded: `0.1..=1.5`."),
];

/// A word that stands before `=` or `(`.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
}

impl Key {
    const fn new(name: &'static str, description: &'static str) -> Key {
        Key { name, description }
    }
}

/// The names of keys.
pub(crate) fn names(keys: &'static [Key]) -> impl Iterator<Item = &'static str> + Clone {
    keys.iter().map(|key| key.name)
}

/// One `key`, `key = value` or `key(...)`.
pub(crate) struct Entry {
    /// The key as it is written.
    name: String,
    item: NestedMeta,
}

impl Entry {
    /// The key with its place.
    pub(crate) fn key(&self) -> &Path {
        key(&self.item)
    }

    /// The value of `key = value`; `example` says what could stand there.
    pub(crate) fn value(&self, example: &str) -> Result<&Expr> {
        match &self.item {
            NestedMeta::Meta(Meta::NameValue(meta)) => Ok(&meta.value),
            NestedMeta::NameValueInvalidExpr(meta) if !meta.value.is_empty() => {
                Err(Error::new_spanned(&meta.value, format!("this is not a value; write `{example}`")))
            }
            _ => {
                let key = &self.name;
                Err(Error::new_spanned(self.key(), format!("`{key}` needs a value; write `{example}`")))
            }
        }
    }

    /// The tokens after `key =`, whatever they are.
    pub(crate) fn value_tokens(&self) -> Option<TokenStream> {
        match &self.item {
            NestedMeta::Meta(Meta::NameValue(meta)) => Some(meta.value.to_token_stream()),
            NestedMeta::NameValueInvalidExpr(meta) => Some(meta.value.clone()),
            _ => None,
        }
    }

    /// The tokens in the parentheses of `key(...)`.
    pub(crate) fn list(&self) -> Option<&TokenStream> {
        match &self.item {
            NestedMeta::Meta(Meta::List(meta)) => Some(&meta.tokens),
            _ => None,
        }
    }
}

/// What an attribute says, of which every key is taken once.
pub(crate) struct Entries {
    entries: Vec<Entry>,
    /// Nothing was left out: a key that is not there is missing.
    pub(crate) complete: bool,
}

impl Entries {
    /// Reads the tokens of an attribute, leaving out what is no key or no value, each a mistake.
    pub(crate) fn read(tokens: TokenStream, keys: &'static [Key], errors: &mut Errors) -> Entries {
        let before = errors.len();
        let mut entries = Vec::new();
        for item in errors.ok(Items::parse.parse2(tokens)).map(|items| items.0).unwrap_or_default() {
            match item {
                Ok(NestedMeta::Lit(value)) => {
                    let instead = suggest::one_of(names(keys));
                    let example = keys[0].name;
                    errors.push(value, format!("a value without a key; {instead}, as in `{example} = ...`"));
                }
                Ok(item) => entries.push(Entry { name: key_name(key(&item)), item }),
                Err(error) => errors.add(error),
            }
        }
        Entries { entries, complete: errors.len() == before }
    }

    /// Takes every entry of a key.
    pub(crate) fn all(&mut self, key: &str) -> Vec<Entry> {
        self.entries.extract_if(.., |entry| entry.name == key).collect()
    }

    /// Takes the one entry of a key.
    ///
    /// A key stands once: the first counts, every other is reported.
    pub(crate) fn single(&mut self, key: &str, errors: &mut Errors) -> Option<Entry> {
        let mut entries = self.all(key).into_iter();
        let first = entries.next();
        for other in entries {
            errors.push(other.key(), format!("`{key}` is given twice; keep one"));
        }
        first
    }

    /// Takes what is no known key and passes `test`.
    pub(crate) fn unknown<T>(
        &mut self,
        keys: &'static [Key],
        mut test: impl FnMut(&Entry) -> Option<T>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        self.entries.retain(|entry| {
            let passes = if names(keys).any(|key| key == entry.name) { None } else { test(entry) };
            let stays = passes.is_none();
            found.extend(passes);
            stays
        });
        found
    }

    /// A key is one of those that the attribute takes.
    pub(crate) fn check_unknown(&mut self, keys: &'static [Key], errors: &mut Errors) {
        self.unknown(keys, |entry| {
            let name = &entry.name;
            let instead = suggest::instead(name, names(keys));
            errors.push(entry.key(), format!("unknown key `{name}`; {instead}"));
            Some(())
        });
    }
}

fn key(item: &NestedMeta) -> &Path {
    match item {
        NestedMeta::Meta(meta) => meta.path(),
        NestedMeta::NameValueInvalidExpr(meta) => &meta.path,
        NestedMeta::Lit(_) => unreachable!("a value without a key is no entry"),
    }
}

/// A key as it is written.
fn key_name(key: &Path) -> String {
    match key.get_ident() {
        Some(ident) => ident.to_string(),
        None => key.to_token_stream().to_string().replace(' ', ""),
    }
}
