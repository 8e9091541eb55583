//! Last step: the code of a pipeline. Nothing here can fail, and nothing that is emitted is clever.

mod declaration;
mod declared;
mod parts;
mod plain;
mod stages;
mod stub;
mod tracking;
mod words;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::{PathArguments, Type, TypePath};

use crate::model::{Architecture, Outline, Pipeline};

pub(crate) use stub::stub;

/// The struct as written, and what makes it a pipeline.
pub(crate) fn expand(pipeline: &Pipeline) -> TokenStream {
    let impls = plain::plain(pipeline).unwrap_or_else(|| impls(pipeline));
    wrap(&pipeline.outline, [tracking::tracking(pipeline), impls].into_iter().collect())
}

/// The impls of any pipeline.
fn impls(pipeline: &Pipeline) -> TokenStream {
    let outline = &pipeline.outline;
    let impls = [
        declaration::declaration(pipeline),
        declared::declared(pipeline),
        declared::loadable_as_part(outline, declared::has_defaults(pipeline)),
        stages::stages(outline),
        parts::checks(pipeline),
    ];
    impls.into_iter().collect()
}

/// Puts the struct before the impls, and those where their names disturb nothing.
///
/// The lints are those that judge what a user wrote: generated code is not theirs to mend.
fn wrap(outline: &Outline, impls: TokenStream) -> TokenStream {
    let Outline { item, written, crate_path, .. } = outline;
    let words = words::words(outline);
    quote_spanned! {at(item.ident.span())=>
        #written
        #[allow(deprecated, trivial_bounds, unexpected_cfgs, unused_qualifications)]
        const _: () = {
            use #crate_path::__private;
            #words
            #impls
        };
    }
}

/// Where the impls are located: at the struct's name, or at the name of an architecture of the user's own. If that
/// is not one, the compiler finds so in every impl; it says what is alike in one place only once.
fn home(outline: &Outline) -> Span {
    match &outline.architecture {
        Architecture::Known { .. } => at(outline.item.ident.span()),
        Architecture::Own(path) => {
            at(path.segments.last().map_or_else(|| path.span(), |last| last.ident.span()))
        }
    }
}

/// Where the first and the last token of a type are.
///
/// Of a path, as nearly every type is, that is known without its tokens.
fn ends(ty: &Type) -> (Span, Span) {
    if let Type::Path(TypePath { qself: None, path, .. }) = ty
        && let (Some(first), Some(last)) = (path.segments.first(), path.segments.last())
    {
        let first = path.leading_colon.map_or(first.ident.span(), |colon| colon.spans[0]);
        match &last.arguments {
            PathArguments::None => return (first, last.ident.span()),
            PathArguments::AngleBracketed(arguments) => return (first, arguments.gt_token.span),
            PathArguments::Parenthesized(_) => {}
        }
    }
    let mut spans = ty.to_token_stream().into_iter().map(|token| token.span());
    let first = spans.next().expect("a type has tokens");
    (first, spans.last().unwrap_or(first))
}

/// Where generated code is located: at the user's token, resolved like the rest of what is generated.
fn at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
