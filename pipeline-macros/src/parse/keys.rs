//! The keys of `#[pipeline(...)]` and `#[param(...)]`, each with its place in the source.

use darling::FromMeta;
use darling::ast::{MetaNameValueInvalidExpr, NestedMeta};
use pipeline_schema::suggest;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::{Error, Expr, Meta, Path, Result};

use super::items::Items;
use crate::error::Errors;

/// The keys of `#[pipeline(...)]`. Each may stand several times here, so that we say ourselves what is wrong with it.
#[derive(Default, FromMeta)]
pub(crate) struct PipelineKeys {
    #[darling(multiple)]
    pub(crate) arch: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) task: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) hardware: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) model: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) dtype: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) preprocess: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) route: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) infer: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) format: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) custom: Vec<Entry>,
    #[darling(multiple, rename = "crate")]
    pub(crate) crate_path: Vec<Entry>,
    #[darling(flatten)]
    pub(crate) unknown: Unknown,
}

/// What `#[pipeline(...)]` takes.
pub(crate) const PIPELINE_KEYS: [&str; 11] = [
    "arch",
    "task",
    "hardware",
    "model",
    "dtype",
    "preprocess",
    "route",
    "infer",
    "format",
    "custom",
    "crate",
];

/// The keys of `#[param(...)]`.
#[derive(Default, FromMeta)]
pub(crate) struct ParamKeys {
    #[darling(multiple)]
    pub(crate) default: Vec<Entry>,
    #[darling(multiple)]
    pub(crate) range: Vec<Entry>,
    #[darling(flatten)]
    pub(crate) unknown: Unknown,
}

/// What `#[param(...)]` takes.
pub(crate) const PARAM_KEYS: [&str; 2] = ["default", "range"];

/// One `key`, `key = value` or `key(...)`.
#[derive(Clone)]
pub(crate) struct Entry(NestedMeta);

impl FromMeta for Entry {
    fn from_nested_meta(item: &NestedMeta) -> darling::Result<Entry> {
        Ok(Entry(item.clone()))
    }

    fn from_meta(item: &Meta) -> darling::Result<Entry> {
        Ok(Entry(NestedMeta::Meta(item.clone())))
    }

    fn from_invalid_expr(item: &MetaNameValueInvalidExpr) -> darling::Result<Entry> {
        Ok(Entry(NestedMeta::NameValueInvalidExpr(item.clone())))
    }
}

impl Entry {
    /// The key with its place.
    pub(crate) fn key(&self) -> &Path {
        match &self.0 {
            NestedMeta::Meta(meta) => meta.path(),
            NestedMeta::NameValueInvalidExpr(meta) => &meta.path,
            NestedMeta::Lit(_) => unreachable!("an entry is found by its key"),
        }
    }

    /// The value of `key = value`; `example` says what could stand there.
    pub(crate) fn value(&self, example: &str) -> Result<&Expr> {
        match &self.0 {
            NestedMeta::Meta(Meta::NameValue(meta)) => Ok(&meta.value),
            NestedMeta::NameValueInvalidExpr(meta) if !meta.value.is_empty() => {
                Err(Error::new_spanned(&meta.value, format!("this is not a value; write `{example}`")))
            }
            _ => {
                let key = key_name(self.key());
                Err(Error::new_spanned(self.key(), format!("`{key}` needs a value; write `{example}`")))
            }
        }
    }

    /// The tokens after `key =`, whatever they are.
    pub(crate) fn value_tokens(&self) -> Option<TokenStream> {
        match &self.0 {
            NestedMeta::Meta(Meta::NameValue(meta)) => Some(meta.value.to_token_stream()),
            NestedMeta::NameValueInvalidExpr(meta) => Some(meta.value.clone()),
            _ => None,
        }
    }

    /// The tokens in the parentheses of `key(...)`.
    pub(crate) fn list(&self) -> Option<&TokenStream> {
        match &self.0 {
            NestedMeta::Meta(Meta::List(meta)) => Some(&meta.tokens),
            _ => None,
        }
    }
}

/// What is no known key.
#[derive(Clone, Default)]
pub(crate) struct Unknown(pub(super) Vec<Entry>);

impl FromMeta for Unknown {
    fn from_list(items: &[NestedMeta]) -> darling::Result<Unknown> {
        Ok(Unknown(items.iter().cloned().map(Entry).collect()))
    }
}

impl Unknown {
    /// A key is one of those that the attribute takes.
    pub(crate) fn check(&self, keys: &[&str], errors: &mut Errors) {
        for entry in &self.0 {
            let name = key_name(entry.key());
            let instead = suggest::instead(&name, keys.iter().copied());
            errors.push(entry.key(), format!("unknown key `{name}`; {instead}"));
        }
    }
}

/// The one entry of a key.
///
/// A key stands once: the first counts, every other is reported.
pub(crate) fn single(entries: Vec<Entry>, errors: &mut Errors) -> Option<Entry> {
    let mut entries = entries.into_iter();
    let first = entries.next();
    for other in entries {
        let name = key_name(other.key());
        errors.push(other.key(), format!("`{name}` is given twice; keep one"));
    }
    first
}

/// Reads the tokens of an attribute, leaving out what is no key or no value, each a mistake.
///
/// The second value says whether something was left out: then no key can be called missing.
pub(crate) fn read<K: Default + FromMeta>(
    tokens: TokenStream,
    keys: &[&str],
    errors: &mut Errors,
) -> (K, bool) {
    let before = errors.len();
    let mut items = Vec::new();
    for item in Items::parse.parse2(tokens).map(|items| items.0).unwrap_or_default() {
        match item {
            Ok(NestedMeta::Lit(value)) => {
                let instead = suggest::one_of(keys.iter().copied());
                errors.push(value, format!("a value without a key; {instead}, as in `{} = ...`", keys[0]));
            }
            Ok(item) => items.push(item),
            Err(error) => errors.add(error),
        }
    }
    let complete = errors.len() == before;
    match K::from_list(&items) {
        Ok(keys) => (keys, complete),
        Err(error) => {
            errors.add(error.into());
            (K::default(), false)
        }
    }
}

/// A key as it is written.
pub(crate) fn key_name(key: &Path) -> String {
    key.to_token_stream().to_string().replace(' ', "")
}
