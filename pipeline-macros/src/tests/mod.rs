//! What the attribute makes of declarations, without a compiler around it.

mod broken;
#[path = "../../../ui-tests/tests/checkpoints/mod.rs"]
mod checkpoints;
mod expansions;
mod mistakes;
mod models;
mod words;

use std::path::Path;

use proc_macro2::TokenStream;

use crate::attribute::pipeline;

/// The expansion as a person would read it.
fn expansion(arguments: TokenStream, item: TokenStream) -> String {
    expansion_in(None, arguments, item)
}

/// The expansion in a crate whose `Cargo.toml` is in this directory.
fn expansion_in(directory: Option<&Path>, arguments: TokenStream, item: TokenStream) -> String {
    let file = syn::parse2(pipeline(arguments, item, directory)).expect("the expansion is Rust");
    prettyplease::unparse(&file)
}

/// What `compile_error!` says, in order.
fn mistakes(arguments: TokenStream, item: TokenStream) -> Vec<String> {
    let file: syn::File = syn::parse2(pipeline(arguments, item, None)).expect("the expansion is Rust");
    let errors = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Macro(item) if item.mac.path.segments.last()?.ident == "compile_error" => {
            Some(item.mac.parse_body::<syn::LitStr>().expect("a message").value())
        }
        _ => None,
    });
    errors.collect()
}
