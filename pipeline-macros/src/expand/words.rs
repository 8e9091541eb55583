//! What an editor finds at the words of a declaration.

use proc_macro2::TokenStream;
use quote::quote_spanned;

use super::at;
use crate::model::Outline;

/// Hands the words to a macro of their own, which only an editor expands: rust-analyzer alone sets the condition.
pub(super) fn words(outline: &Outline) -> TokenStream {
    let words = &outline.words;
    quote_spanned! {at(outline.item.ident.span())=>
        #[cfg(rust_analyzer)]
        __private::look_up! { #({ #words })* }
    }
}
