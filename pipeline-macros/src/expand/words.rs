//! What an editor finds at the words of a declaration.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;

use super::at;
use crate::model::Outline;
use crate::parse::words::LISTS;

/// Names the item of every word in the module of its list, where an editor finds what a complete word means and what an
/// incomplete one can become; a list is there as soon as its key is. rust-analyzer alone sets the condition.
pub(super) fn words(outline: &Outline) -> TokenStream {
    let Outline { crate_path, words, item, .. } = outline;
    let span = at(item.ident.span());
    let lists = LISTS.iter().zip(&words.0).filter_map(|(list, words)| {
        let (list, words) = (Ident::new(list, span), words.as_ref()?);
        Some(quote_spanned!(span=> #list::{#(#words as _),*}))
    });
    quote_spanned! {span=>
        #[cfg(rust_analyzer)]
        use #crate_path::__private::words::{#(#lists),*};
    }
}
