//! `impl Declaration`: what the attribute says.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Member, Type};

use super::{at, home, parts, stages};
use crate::model::{Architecture, Field, Model, Outline, Pipeline, Range, Role, Task};

pub(super) fn declaration(pipeline: &Pipeline) -> TokenStream {
    let at_name = home(&pipeline.outline);
    let hardware = pipeline.hardware.iter().map(|hardware| format_ident!("{hardware:?}", span = at_name));
    let hardware = quote_spanned!(at_name=> &[#(__private::Hardware::#hardware),*]);
    let model = match &pipeline.model {
        Some(model) => model_constant(model),
        None => quote_spanned!(at_name=> ::core::option::Option::None),
    };
    let dtype = match pipeline.dtype {
        Some(dtype) => {
            let dtype = format_ident!("{dtype:?}", span = at_name);
            quote_spanned!(at_name=> ::core::option::Option::Some(__private::DType::#dtype))
        }
        None => quote_spanned!(at_name=> ::core::option::Option::None),
    };
    let parts = parts::constant(&pipeline.parts);
    let settings: Vec<_> = pipeline.fields.iter().filter_map(setting).collect();
    implementation(&pipeline.outline, hardware, model, dtype, parts, &settings)
}

/// The impl, around what differs between a pipeline and the stub of one.
pub(super) fn implementation(
    outline: &Outline,
    hardware: TokenStream,
    model: TokenStream,
    dtype: TokenStream,
    parts: TokenStream,
    settings: &[TokenStream],
) -> TokenStream {
    let ident = &outline.item.ident;
    let at_name = home(outline);
    let name = ident.unraw().to_string();
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let architecture = architecture_type(&outline.architecture);
    let task = task_type(&outline.task);
    let parameters = Ident::new(if settings.is_empty() { "_parameters" } else { "parameters" }, at_name);
    let unlisted = stages::unlisted(outline);
    quote_spanned! {at_name=>
        #[automatically_derived]
        #unlisted
        impl #impl_generics __private::Declaration for #ident #ty_generics #where_clause {
            type Architecture = #architecture;
            type Task = #task;
            const NAME: &'static ::core::primitive::str = #name;
            const HARDWARE: &'static [__private::Hardware] = #hardware;
            const MODEL: ::core::option::Option<__private::DeclaredModel> = #model;
            const DTYPE: ::core::option::Option<__private::DType> = #dtype;
            #parts
            fn configure(&self, #parameters: &mut __private::ParametersOf<Self>) -> __private::Result<()> {
                #(#settings)*
                ::core::result::Result::Ok(())
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
        ::core::option::Option::Some(__private::DeclaredModel {
            path: #path,
            manifest_directory: ::core::env!("CARGO_MANIFEST_DIR"),
            header_hash: ::core::option::Option::Some(#header_hash),
        })
    }
}

/// Writes a field into its parameter.
///
/// A parameter that the architecture does not have is reported on the field's name, a type that cannot set it
/// on the field's type.
fn setting(field: &Field) -> Option<TokenStream> {
    let (Role::Param(param), Member::Named(name)) = (&field.role, &field.member) else { return None };
    let conditions = &field.conditions;
    let at_name = at(name.span());
    let value = self_field(name, &field.ty);
    let parameter = quote_spanned!(at_name=> &mut parameters.#name);
    Some(match &param.range {
        None => quote_spanned! {at_name=> #(#conditions)* __private::set(#parameter, #value)?; },
        Some(Range { start, end }) => {
            let text = name.unraw().to_string();
            quote_spanned! {at_name=>
                #(#conditions)* __private::set_within(#text, #parameter, #value, #start..=#end)?;
            }
        }
    })
}

/// `&self.name`, located from the first to the last token of the field's type.
fn self_field(name: &Ident, ty: &Type) -> TokenStream {
    let tokens: Vec<_> = ty.to_token_stream().into_iter().collect();
    let (first, last) = match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => (at(first.span()), at(last.span())),
        _ => (at(name.span()), at(name.span())),
    };
    let mut name = name.clone();
    name.set_span(last);
    let borrowed = quote_spanned!(first=> &self.);
    quote!(#borrowed #name)
}
