//! What an editor finds at the words of a declaration.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;

use super::at;
use crate::model::Outline;
use crate::parse::words::LISTS;

/// Names the word's item at every word, or, where a word is not complete, what can be completed: an editor sees the
/// modules of [`LISTS`] behind each, also where there is no word yet. rust-analyzer alone sets the condition.
pub(super) fn words(outline: &Outline) -> TokenStream {
    let Outline { crate_path, words, item, .. } = outline;
    let span = at(item.ident.span());
    let lists = LISTS.iter().zip(&words.0).map(|(list, words)| {
        let list = Ident::new(list, span);
        quote_spanned!(span=> #list::{#(#words as _),*})
    });
    quote_spanned! {span=>
        #[cfg(rust_analyzer)]
        use #crate_path::__private::words::{#(#lists),*};
    }
}
