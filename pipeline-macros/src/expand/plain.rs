//! A pipeline as nearly all are, which is put together by the compiler's own expander: that is optimised where a user's
//! build has not optimised this crate.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;
use syn::ext::IdentExt;

use super::at;
use super::declaration::{constants, hardware, parameters, settings};
use super::declared::{has_defaults, values};
use super::stages::unlisted;
use crate::model::{Architecture, Outline, Pipeline, StageBody, Task};

/// A macro with what is the pipeline's own; nothing for a pipeline of which anything is uncommon.
///
/// All that is given to the macro is known to be right, but for what keeps its place in the source.
pub(super) fn plain(pipeline: &Pipeline) -> Option<TokenStream> {
    let Outline { item, architecture, task, stages, .. } = &pipeline.outline;
    let (
        Architecture::Known { spec: architecture, span: at_arch },
        Task::Known { spec: task, span: at_task },
    ) = (architecture, task)
    else {
        return None;
    };
    let by_architecture = stages.iter().all(|stage| matches!(stage.body, StageBody::Default));
    let generic = !item.generics.params.is_empty() || item.generics.where_clause.is_some();
    let unlisted = unlisted(&pipeline.outline).is_some();
    if !by_architecture || generic || unlisted || !has_defaults(pipeline) {
        return None;
    }
    let ident = &item.ident;
    let span = at(ident.span());
    let name = ident.unraw().to_string();
    let architecture = Ident::new(architecture.type_name, at(*at_arch));
    let task = Ident::new(task.type_name, at(*at_task));
    let (hardware, constants, settings) = (hardware(pipeline), constants(pipeline), settings(pipeline));
    let parameters = parameters(&settings, span);
    let values = values(pipeline);
    Some(quote_spanned! {span=>
        __private::pipeline! {
            impl #ident: #architecture, #task, #name, [#(#hardware)*], { #constants }
            (self, #parameters) { #settings }
            { #values }
        }
    })
}
