//! Last step: the code of a pipeline. Nothing here can fail, and nothing that is emitted is clever.

mod declaration;
mod declared;
mod parts;
mod stages;
mod stub;
mod tracking;
mod words;

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned;

use crate::model::{Architecture, Outline, Pipeline};

pub(crate) use stub::stub;

/// The struct as written, and what makes it a pipeline.
pub(crate) fn expand(pipeline: &Pipeline) -> TokenStream {
    let declaration = declaration::declaration(pipeline);
    let declared = declared::declared(pipeline);
    let loadable = declared::loadable_as_part(&pipeline.outline, declared::has_defaults(pipeline));
    let stages = stages::stages(&pipeline.outline);
    let tracking = tracking::tracking(pipeline);
    let parts = parts::checks(pipeline);
    wrap(
        &pipeline.outline,
        quote_spanned!(at(Span::call_site())=> #tracking #declaration #declared #loadable #stages #parts),
    )
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

/// Where generated code is located: at the user's token, resolved like the rest of what is generated.
fn at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
