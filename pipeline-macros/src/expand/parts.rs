//! The pipelines that are parts of this one, and what the compiler is to check of them.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::spanned::Spanned;

use super::at;
use crate::model::{Architecture, Part, Pipeline};

/// `Declaration::PARTS`. A name that is no part is reported on it, a type that is no pipeline on that.
pub(super) fn constant(parts: &[Part]) -> Option<TokenStream> {
    let (first, last) = (parts.first()?, parts.last()?);
    let span = at(first.name.span().join(last.name.span()).unwrap_or(first.name.span()));
    let declared = parts.iter().map(|Part { name, pipeline }| {
        let text = name.to_string();
        let slot = quote_spanned!(at(name.span())=> |parts| &mut parts.#name);
        quote_spanned!(at(pipeline.span())=> __private::DeclaredPart::of::<#pipeline>(#text, #slot))
    });
    Some(quote_spanned! {span=>
        const PARTS: &'static [__private::DeclaredPart<__private::PartsOf<Self>>] = &[#(#declared),*];
    })
}

/// A constant for each check, so that one does not hide another. The loader checks a generic declaration: here
/// is nothing to put in for its parameters.
pub(super) fn checks(pipeline: &Pipeline) -> TokenStream {
    let item = &pipeline.outline.item;
    let Architecture::Own(architecture) = &pipeline.outline.architecture else { return TokenStream::new() };
    if !item.generics.params.is_empty() {
        return TokenStream::new();
    }
    let ident = &item.ident;
    let span = at(architecture.span());
    let needed = quote_spanned!(span=> const _: () = __private::check_needed::<#ident>(););
    let parts = pipeline.parts.iter().enumerate().map(|(index, part)| {
        quote_spanned! {at(part.pipeline.span())=>
            const _: () = __private::check_task::<#ident>(#index);
            const _: () = __private::check_hardware::<#ident>(#index);
        }
    });
    quote_spanned!(span=> #needed #(#parts)*)
}
