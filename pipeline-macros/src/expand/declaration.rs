//! `impl Declaration`: what the attribute says.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::ext::IdentExt;
use syn::{Member, Token};

use super::{at, ends, home, parts, stages};
use crate::model::{Architecture, Field, Model, Outline, Pipeline, Range, Role, Task};

pub(super) fn declaration(pipeline: &Pipeline) -> TokenStream {
    implementation(&pipeline.outline, &hardware(pipeline), constants(pipeline), settings(pipeline))
}

/// The variants of `Hardware`.
pub(super) fn hardware(pipeline: &Pipeline) -> Vec<Ident> {
    let span = home(&pipeline.outline);
    pipeline.hardware.iter().map(|hardware| format_ident!("{hardware:?}", span = span)).collect()
}

/// The constants that have another value than most.
pub(super) fn constants(pipeline: &Pipeline) -> TokenStream {
    let at_name = home(&pipeline.outline);
    let model = pipeline.model.as_ref().map(model_constant);
    let dtype = pipeline.dtype.map(|dtype| {
        let dtype = format_ident!("{dtype:?}", span = at_name);
        quote_spanned! {at_name=>
            const DTYPE: __private::Option<__private::DType> = __private::Some(__private::DType::#dtype);
        }
    });
    model.into_iter().chain(dtype).chain(parts::constant(&pipeline.parts)).collect()
}

/// What `configure` does.
pub(super) fn settings(pipeline: &Pipeline) -> TokenStream {
    pipeline.fields.iter().filter_map(setting).collect()
}

/// The name of what `configure` is given.
pub(super) fn parameters(settings: &TokenStream, span: Span) -> Ident {
    Ident::new(if settings.is_empty() { "_parameters" } else { "parameters" }, span)
}

/// The impl, around what differs between a pipeline and the stub of one.
pub(super) fn implementation(
    outline: &Outline,
    hardware: &[Ident],
    constants: TokenStream,
    settings: TokenStream,
) -> TokenStream {
    let ident = &outline.item.ident;
    let at_name = home(outline);
    let name = ident.unraw().to_string();
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let architecture = architecture_type(&outline.architecture);
    let task = task_type(&outline.task);
    let parameters = parameters(&settings, at_name);
    let unlisted = stages::unlisted(outline);
    quote_spanned! {at_name=>
        #[automatically_derived]
        #unlisted
        impl #impl_generics __private::Declaration for #ident #ty_generics #where_clause {
            type Architecture = #architecture;
            type Task = #task;
            const NAME: &'static __private::str = #name;
            const HARDWARE: &'static [__private::Hardware] = &[#(__private::Hardware::#hardware),*];
            #constants
            fn configure(&self, #parameters: &mut __private::ParametersOf<Self>) -> __private::Result<()> {
                #settings
                __private::Ok(())
            }
        }
    }
}

fn architecture_type(architecture: &Architecture) -> TokenStream {
    match architecture {
        Architecture::Known { spec, span } => {
            let name = Ident::new(spec.type_name, at(*span));
            quote_spanned!(at(*span)=> __private::arch::#name)
        }
        Architecture::Own(path) => path.to_token_stream(),
    }
}

fn task_type(task: &Task) -> TokenStream {
    match task {
        Task::Known { spec, span } => {
            let name = Ident::new(spec.type_name, at(*span));
            quote_spanned!(at(*span)=> __private::task::#name)
        }
        Task::Own(path) => path.to_token_stream(),
    }
}

fn model_constant(model: &Model) -> TokenStream {
    let Model { path, header_hash, .. } = model;
    quote_spanned! {at(path.span())=>
        const MODEL: __private::Option<__private::DeclaredModel> = __private::Some(__private::DeclaredModel {
            path: #path,
            manifest_directory: ::core::env!("CARGO_MANIFEST_DIR"),
            header_hash: __private::Some(#header_hash),
        });
    }
}

/// Writes a field into its parameter.
///
/// A parameter that the architecture does not have is reported on the field's name, a type that cannot set it
/// on the field's type: `&self.name` is located there, from the first to the last token.
fn setting(field: &Field) -> Option<TokenStream> {
    let (Role::Param(param), Member::Named(name)) = (&field.role, &field.member) else { return None };
    let conditions = &field.conditions;
    let at_name = at(name.span());
    let (first, last) = ends(&field.ty);
    let (first, last) = (at(first), at(last));
    let (and, this, dot) = (Token![&](first), Token![self](first), Token![.](first));
    let mut value = name.clone();
    value.set_span(last);
    Some(match &param.range {
        None => quote_spanned! {at_name=>
            #(#conditions)* __private::set(&mut parameters.#name, #and #this #dot #value)?;
        },
        Some(Range { start, end }) => {
            let text = name.unraw().to_string();
            quote_spanned! {at_name=>
                #(#conditions)*
                __private::set_within(#text, &mut parameters.#name, #and #this #dot #value, #start..=#end)?;
            }
        }
    })
}
