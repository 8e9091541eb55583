//! The keys of `#[pipeline(...)]` and `#[param(...)]`, each with its place in the source.

use darling::FromMeta;
use darling::ast::{MetaNameValueInvalidExpr, NestedMeta};
use pipeline_schema::suggest;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Error, Expr, Meta, MetaNameValue, Path, Result, Token};

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
pub(crate) struct Unknown(Vec<NestedMeta>);

impl FromMeta for Unknown {
    fn from_list(items: &[NestedMeta]) -> darling::Result<Unknown> {
        Ok(Unknown(items.to_vec()))
    }
}

impl Unknown {
    /// A key is one of those that the attribute takes.
    pub(crate) fn check(&self, keys: &[&str], errors: &mut Errors) {
        for item in &self.0 {
            match item {
                NestedMeta::Meta(meta) => unknown_key(meta.path(), keys, errors),
                NestedMeta::NameValueInvalidExpr(meta) => unknown_key(&meta.path, keys, errors),
                NestedMeta::Lit(_) => unreachable!("values without a key are reported before"),
            }
        }
    }
}

fn unknown_key(key: &Path, keys: &[&str], errors: &mut Errors) {
    let name = key_name(key);
    let instead = suggest::instead(&name, keys.iter().copied());
    errors.push(key, format!("unknown key `{name}`; {instead}"));
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

/// What stands between commas. What cannot be parsed ends at the next comma, so that it hides nothing after it.
struct Items(Vec<Result<NestedMeta>>);

impl Items {
    fn parse(input: ParseStream<'_>) -> Result<Items> {
        let mut items = Vec::new();
        while !input.is_empty() {
            let item = Items::ended(input, key_value).or_else(|_| Items::ended(input, NestedMeta::parse));
            items.push(match item {
                Ok(item) => Ok(item),
                Err(error) => Items::unreadable(input, error)?,
            });
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Items(items))
    }

    /// Parses what ends at a comma, or else parses nothing.
    fn ended(input: ParseStream<'_>, parse: fn(ParseStream<'_>) -> Result<NestedMeta>) -> Result<NestedMeta> {
        let ahead = input.fork();
        let item = parse(&ahead)?;
        if !ahead.is_empty() && !ahead.peek(Token![,]) {
            return Err(ahead.error("expected `,`"));
        }
        input.advance_to(&ahead);
        Ok(item)
    }

    /// `key =` and then something, or nothing of the kind.
    fn unreadable(input: ParseStream<'_>, error: Error) -> Result<Result<NestedMeta>> {
        let ahead = input.fork();
        let key = ahead.call(Path::parse_mod_style).and_then(|path| Ok((path, ahead.parse::<Token![=]>()?)));
        if key.is_ok() {
            input.advance_to(&ahead);
        }
        let value = until_comma(input)?;
        Ok(match key {
            Ok((path, eq_token)) => {
                let error = error.into();
                Ok(NestedMeta::NameValueInvalidExpr(MetaNameValueInvalidExpr {
                    path,
                    eq_token,
                    value,
                    error,
                }))
            }
            Err(_) => Err(Error::new_spanned(value, "expected `key = value`")),
        })
    }
}

/// `key = value`, where darling would make `-1` one literal, which has no place for all of it.
fn key_value(input: ParseStream<'_>) -> Result<NestedMeta> {
    let path = input.call(Path::parse_mod_style)?;
    let (eq_token, value) = (input.parse()?, input.parse()?);
    Ok(NestedMeta::Meta(Meta::NameValue(MetaNameValue { path, eq_token, value })))
}

/// The tokens before the next comma outside `<...>`.
fn until_comma(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    let mut depth = 0;
    while !input.is_empty() && (depth > 0 || !input.peek(Token![,])) {
        let token: TokenTree = input.parse()?;
        if let TokenTree::Punct(punct) = &token {
            depth += i32::from(punct.as_char() == '<') - i32::from(punct.as_char() == '>');
        }
        tokens.extend([token]);
    }
    Ok(tokens)
}

/// A key as it is written.
pub(crate) fn key_name(key: &Path) -> String {
    key.to_token_stream().to_string().replace(' ', "")
}
