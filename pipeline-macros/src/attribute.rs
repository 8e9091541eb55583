//! The four steps of the attribute: parse, model, validate, expand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Error;

use crate::error::{self, Errors};
use crate::parse::item::without_params;
use crate::parse::{Arguments, Declared};
use crate::{expand, validate};

/// What becomes of `item` under `#[pipeline(arguments)]`.
///
/// `manifest_directory` is the directory of the declaring crate's manifest, where paths of the declaration begin.
pub(crate) fn pipeline(
    arguments: TokenStream,
    item: TokenStream,
    manifest_directory: Option<&Path>,
) -> TokenStream {
    guarded(item, |item| declare(arguments, item, manifest_directory))
}

/// What `expand` makes of `item`, or, after a panic, the item and what is said of that.
pub(crate) fn guarded(item: TokenStream, expand: impl FnOnce(TokenStream) -> TokenStream) -> TokenStream {
    let unchanged = item.clone();
    catch_unwind(AssertUnwindSafe(|| expand(item))).unwrap_or_else(|panic| {
        let first = unchanged.clone().into_iter().next().map_or_else(Span::call_site, |token| token.span());
        let bug = Error::new(first, error::bug(panic.as_ref())).to_compile_error();
        let written = without_params(unchanged, &mut Vec::new());
        quote!(#written #bug)
    })
}

fn declare(arguments: TokenStream, item: TokenStream, manifest_directory: Option<&Path>) -> TokenStream {
    let mut errors = Errors::new();
    let mut words = vec![arguments.clone()];
    let arguments = Arguments::parse(arguments, &mut errors);
    let mut declared = match Declared::parse(item, &mut errors) {
        Ok(declared) => declared,
        Err((item, error)) => {
            // What the attribute says means nothing on anything but a struct.
            errors.into_compile_errors();
            let error = error.to_compile_error();
            return quote!(#item #error);
        }
    };
    words.append(&mut declared.params);
    let code = match validate::validate(&arguments, declared, words, manifest_directory, &mut errors) {
        Ok(pipeline) => expand::expand(&pipeline),
        Err(outline) => expand::stub(&outline),
    };
    [code, errors.into_compile_errors()].into_iter().collect()
}
