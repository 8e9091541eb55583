//! The impls of the four stages.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::{at, home};
use crate::model::{Outline, Stage, StageBody, StageName};

/// What a stage takes besides `self` and the call, and what it gives.
struct Signature {
    inputs: TokenStream,
    arguments: TokenStream,
    result: TokenStream,
    /// What only one stage has.
    extra: TokenStream,
}

pub(super) fn stages(outline: &Outline) -> TokenStream {
    let stages = outline.stages.iter().map(|stage| match &stage.body {
        StageBody::Default => by_architecture(outline, stage.name),
        StageBody::Function(path) => by_function(outline, stage.name, path),
        StageBody::Custom(word) => required(outline, stage.name, word),
    });
    let streams = outline.stages.iter().any(streams).then(|| infers_by_default(outline));
    stages.chain(streams).collect()
}

/// Whether the steps of `infer` are the architecture's own.
fn streams(stage: &Stage) -> bool {
    matches!(stage, Stage { name: StageName::Infer, body: StageBody::Default })
}

pub(super) fn by_architecture(outline: &Outline, stage: StageName) -> TokenStream {
    let span = home(outline);
    let method = Ident::new(stage.word(), span);
    let Signature { arguments, .. } = signature(stage, span);
    let body = quote_spanned!(span=> __private::declared::#method::<Self>(call, #arguments));
    implementation(outline, stage, body)
}

/// A function of another signature is reported on its path in the attribute. The parentheses keep the compiler from
/// taking a function that does not exist for a method.
fn by_function(outline: &Outline, stage: StageName, path: &syn::Path) -> TokenStream {
    let span = at(path.span());
    let Signature { arguments, .. } = signature(stage, span);
    implementation(outline, stage, quote_spanned!(span=> (#path)(self, call, #arguments)))
}

fn implementation(outline: &Outline, stage: StageName, body: TokenStream) -> TokenStream {
    let ident = &outline.item.ident;
    let span = home(outline);
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let (name, method) = (Ident::new(stage.trait_name(), span), Ident::new(stage.word(), span));
    let Signature { inputs, result, extra, .. } = signature(stage, span);
    let unlisted = unlisted(outline);
    quote_spanned! {span=>
        #[automatically_derived]
        #unlisted
        impl #impl_generics __private::#name for #ident #ty_generics #where_clause {
            #extra
            fn #method(&self, call: &__private::CallOf<'_, Self>, #inputs) -> __private::Result<#result> {
                #body
            }
        }
    }
}

/// A stage that is promised is implemented; where it is not, the promise is marked.
///
/// The struct is an argument so that what its fields imply of its lifetimes holds here, too.
fn required(outline: &Outline, stage: StageName, word: &Ident) -> TokenStream {
    let span = at(word.span());
    let mut ident = outline.item.ident.clone();
    ident.set_span(ident.span().located_at(word.span()));
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let name = Ident::new(stage.trait_name(), span);
    let function = Ident::new(&format!("custom_{}", stage.word()), span);
    let turbofish = ty_generics.as_turbofish();
    quote_spanned! {span=>
        #[allow(dead_code)]
        fn #function #impl_generics(_: &#ident #ty_generics) #where_clause {
            fn required<D: __private::#name>() {}
            required::<#ident #turbofish>();
        }
    }
}

pub(super) fn infers_by_default(outline: &Outline) -> TokenStream {
    let ident = &outline.item.ident;
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let unlisted = unlisted(outline);
    quote_spanned! {home(outline)=>
        #[automatically_derived]
        #unlisted
        impl #impl_generics __private::InfersByDefault for #ident #ty_generics #where_clause {}
    }
}

/// To somebody whose own type lacks a trait, it is no help that every ready-made pipeline of `crate = crate` has it: the
/// compiler would list them all. It does not find the attribute under `no_implicit_prelude`, where users may be.
pub(super) fn unlisted(outline: &Outline) -> Option<TokenStream> {
    outline.crate_path.is_ident("crate").then(|| quote!(#[diagnostic::do_not_recommend]))
}

fn signature(stage: StageName, span: proc_macro2::Span) -> Signature {
    match stage {
        StageName::Preprocess => Signature {
            inputs: quote_spanned!(span=> inputs: __private::Vec<__private::InputOf<Self>>),
            arguments: quote_spanned!(span=> inputs),
            result: quote_spanned!(span=> __private::PreparedOf<Self>),
            extra: TokenStream::new(),
        },
        StageName::Route => Signature {
            inputs: quote_spanned!(span=> prepared: &__private::PreparedOf<Self>),
            arguments: quote_spanned!(span=> prepared),
            result: quote_spanned!(span=> __private::PlanOf<Self>),
            extra: TokenStream::new(),
        },
        StageName::Infer => Signature {
            inputs: quote_spanned!(span=> prepared: __private::PreparedOf<Self>, plan: __private::PlanOf<Self>),
            arguments: quote_spanned!(span=> prepared, plan),
            result: quote_spanned!(span=> __private::RawOf<Self>),
            extra: TokenStream::new(),
        },
        StageName::Format => Signature {
            inputs: quote_spanned!(span=> raw: __private::RawOf<Self>),
            arguments: quote_spanned!(span=> raw),
            result: quote_spanned!(span=> __private::Vec<Self::Output>),
            extra: quote_spanned!(span=> type Output = __private::OutputOf<Self>;),
        },
    }
}
