//! What the attribute makes of declarations, without a compiler around it.

mod expansions;
mod mistakes;

use proc_macro2::TokenStream;

use crate::attribute::pipeline;

/// The expansion as a person would read it.
fn expansion(arguments: TokenStream, item: TokenStream) -> String {
    let file = syn::parse2(pipeline(arguments, item, None)).expect("the expansion is Rust");
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
