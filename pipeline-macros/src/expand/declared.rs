//! `impl Declared`: the struct with its defaults.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::{WhereClause, parse_quote_spanned};

use super::{at, stages};
use crate::model::{Default, DefaultValue, Field, Outline, Pipeline, Role};

pub(super) fn declared(pipeline: &Pipeline) -> TokenStream {
    let item = &pipeline.outline.item;
    let ident = &item.ident;
    let (impl_generics, ty_generics, where_clause) = item.generics.split_for_impl();
    let where_clause = bounds(where_clause.cloned(), &pipeline.fields);
    let values = pipeline.fields.iter().map(initial_value);
    let unlisted = stages::unlisted(&pipeline.outline);
    quote_spanned! {at(ident.span())=>
        #[automatically_derived]
        #unlisted
        impl #impl_generics __private::Declared for #ident #ty_generics #where_clause {
            fn declared() -> Self {
                Self { #(#values,)* }
            }
        }
    }
}

/// `impl LoadableAsPart`, for a pipeline that has what that takes.
pub(super) fn loadable_as_part(outline: &Outline) -> TokenStream {
    let ident = &outline.item.ident;
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let span = at(ident.span());
    let mut where_clause = where_clause.cloned().unwrap_or_else(|| parse_quote_spanned!(span=> where));
    where_clause.predicates.push(parse_quote_spanned! {span=>
        for<'declared> #ident #ty_generics: __private::Declared + __private::Stages + 'static
    });
    let unlisted = stages::unlisted(outline);
    quote_spanned! {span=>
        #[automatically_derived]
        #unlisted
        impl #impl_generics __private::LoadableAsPart for #ident #ty_generics #where_clause {
            type This = Self;
        }
    }
}

/// The user's own fields have a default if their types do.
///
/// `for<'declared>` makes the compiler ask only where the default is used: a struct with a field that has none is
/// a pipeline too, built by hand.
fn bounds(where_clause: Option<WhereClause>, fields: &[Field]) -> Option<WhereClause> {
    let own = fields.iter().filter(|field| matches!(field.role, Role::Own) && field.conditions.is_empty());
    let mut where_clause = where_clause;
    for field in own {
        let ty = &field.ty;
        let span = at(ty.span());
        let clause = where_clause.get_or_insert_with(|| parse_quote_spanned!(span=> where));
        clause.predicates.push(parse_quote_spanned!(span=> for<'declared> #ty: ::core::default::Default));
    }
    where_clause
}

fn initial_value(field: &Field) -> TokenStream {
    let Field { member, conditions, role, ty } = field;
    let at_type = at(ty.span());
    let value = match role {
        Role::Own => quote_spanned!(at_type=> ::core::default::Default::default()),
        Role::Param(param) => match &param.default {
            Some(default) => default_value(default, at_type),
            None => quote_spanned!(at_type=> ::core::option::Option::None),
        },
    };
    quote_spanned!(at_type=> #(#conditions)* #member: #value)
}

fn default_value(default: &Default, at_type: Span) -> TokenStream {
    let value = match &default.value {
        DefaultValue::Number(number) => quote_spanned!(at_type=> #number),
        DefaultValue::Boolean(value) => quote_spanned!(at_type=> #value),
        DefaultValue::Text(text) => quote_spanned!(at(text.span())=> ::core::convert::Into::into(#text)),
        DefaultValue::TextList { texts, span } => {
            quote_spanned!(at(*span)=> ::core::convert::From::from([#(::core::convert::Into::into(#texts)),*]))
        }
        DefaultValue::NumberList(list) => {
            quote_spanned!(at(list.span())=> ::core::convert::From::from(#list))
        }
        DefaultValue::Other(expr) => quote_spanned!(at_type=> #expr),
    };
    if default.optional { quote_spanned!(at_type=> ::core::option::Option::Some(#value)) } else { value }
}
