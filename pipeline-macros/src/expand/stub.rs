//! What stands in for a pipeline after a mistake, so that code which uses it is not reported as well.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::{at, declaration, declared, stages, wrap};
use crate::model::{Outline, StageBody, StageName};

/// The struct as written, and impls that only satisfy the compiler.
pub(crate) fn stub(outline: &Outline) -> TokenStream {
    let ident = &outline.item.ident;
    let span = at(ident.span());
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let declaration = declaration::implementation(outline, &[], TokenStream::new(), TokenStream::new());
    let loadable = declared::loadable_as_part(outline, true);
    let stages = outline.stages.iter().map(|stage| match (&stage.body, stage.name) {
        (StageBody::Custom(_), _) => TokenStream::new(),
        (StageBody::Function(_), name) => stages::by_architecture(outline, name),
        (StageBody::Default, StageName::Infer) => {
            let infer = stages::by_architecture(outline, StageName::Infer);
            let streams = stages::infers_by_default(outline);
            quote!(#infer #streams)
        }
        (StageBody::Default, name) => stages::by_architecture(outline, name),
    });
    let impls = quote_spanned! {span=>
        #declaration
        #[automatically_derived]
        impl #impl_generics __private::Declared for #ident #ty_generics #where_clause {
            fn declared() -> Self {
                loop {}
            }
        }
        #loadable
        #(#stages)*
    };
    wrap(outline, impls)
}
