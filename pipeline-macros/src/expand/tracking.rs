//! What makes the compiler look again when a file that was read changes.

use proc_macro2::TokenStream;
use quote::quote_spanned;

use super::at;
use crate::model::Pipeline;

pub(super) fn tracking(pipeline: &Pipeline) -> TokenStream {
    let Some(model) = &pipeline.model else { return TokenStream::new() };
    let span = at(model.path.span());
    let files = model.tracked.iter().map(|file| format!("/{file}"));
    quote_spanned! {span=>
        #(const _: &::core::primitive::str =
            ::core::include_str!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), #files));)*
    }
}
