//! The four steps of the attribute: parse, model, validate, expand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Error;

use crate::error::{self, Errors};
use crate::parse::{Arguments, Declared, item};
use crate::{expand, validate};

/// What becomes of `item` under `#[pipeline(arguments)]`.
///
/// `manifest_directory` is the directory of the declaring crate's manifest, where paths of the declaration begin.
pub(crate) fn pipeline(
    arguments: TokenStream,
    item: TokenStream,
    manifest_directory: Option<&Path>,
) -> TokenStream {
    let first = item.clone().into_iter().next().map_or_else(Span::call_site, |token| token.span());
    let unchanged = item.clone();
    catch_unwind(AssertUnwindSafe(|| declare(arguments, item, manifest_directory))).unwrap_or_else(|panic| {
        let bug = Error::new(first, error::bug(panic.as_ref())).to_compile_error();
        quote!(#unchanged #bug)
    })
}

fn declare(arguments: TokenStream, item: TokenStream, manifest_directory: Option<&Path>) -> TokenStream {
    let item = match item::parse(item) {
        Ok(item) => item,
        Err((item, error)) => {
            let error = error.to_compile_error();
            return quote!(#item #error);
        }
    };
    let mut errors = Errors::new();
    let arguments = Arguments::parse(arguments, &mut errors);
    let declared = Declared::parse(item, &mut errors);
    let code = match validate::validate(&arguments, declared, manifest_directory, &mut errors) {
        Ok(pipeline) => expand::expand(&pipeline),
        Err(outline) => expand::stub(&outline),
    };
    let errors = errors.into_compile_errors();
    quote!(#code #errors)
}
