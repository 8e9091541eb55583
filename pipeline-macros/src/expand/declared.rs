//! `impl Declared`: the struct with its defaults.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Token, Type, WhereClause};

use super::{at, ends, stages};
use crate::model::{Default, DefaultValue, Field, Outline, Pipeline, Role, StageBody};

pub(super) fn declared(pipeline: &Pipeline) -> TokenStream {
    let item = &pipeline.outline.item;
    let ident = &item.ident;
    let (impl_generics, ty_generics, where_clause) = item.generics.split_for_impl();
    let where_clause = bounds(where_clause, &pipeline.fields);
    let values = values(pipeline);
    let unlisted = stages::unlisted(&pipeline.outline);
    quote_spanned! {at(ident.span())=>
        #[automatically_derived]
        #unlisted
        impl #impl_generics __private::Declared for #ident #ty_generics #where_clause {
            fn declared() -> Self {
                Self { #values }
            }
        }
    }
}

/// Every field with its default.
pub(super) fn values(pipeline: &Pipeline) -> TokenStream {
    pipeline.fields.iter().map(initial_value).collect()
}

/// Whether every field has a default for certain.
pub(super) fn has_defaults(pipeline: &Pipeline) -> bool {
    pipeline.fields.iter().all(|field| match field.role {
        Role::Own => always_has_default(&field.ty),
        Role::Param(_) => true,
    })
}

/// `impl LoadableAsPart`, for a pipeline that has what that takes.
///
/// Of one that has it for certain the compiler is not asked, which would take time.
pub(super) fn loadable_as_part(outline: &Outline, has_defaults: bool) -> TokenStream {
    let ident = &outline.item.ident;
    let (impl_generics, ty_generics, where_clause) = outline.item.generics.split_for_impl();
    let span = at(ident.span());
    let has_stages = outline.stages.iter().all(|stage| !matches!(stage.body, StageBody::Custom(_)));
    let certain = has_defaults && has_stages && outline.item.generics.params.is_empty();
    let has_what_it_takes = (!certain).then(|| {
        quote_spanned! {span=>
            for<'declared> #ident #ty_generics: __private::Declared + __private::Stages + 'static
        }
    });
    let where_clause = with_predicates(where_clause, has_what_it_takes.into_iter());
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
/// a pipeline too, built by hand. It is not asked of types that everybody knows to have one, which would take time.
fn bounds(where_clause: Option<&WhereClause>, fields: &[Field]) -> TokenStream {
    let own = fields.iter().filter(|field| {
        matches!(field.role, Role::Own) && field.conditions.is_empty() && !always_has_default(&field.ty)
    });
    let predicates = own
        .map(|Field { ty, .. }| quote_spanned!(at(ty.span())=> for<'declared> #ty: ::core::default::Default));
    with_predicates(where_clause, predicates)
}

/// The user's where clause and predicates of ours.
fn with_predicates(
    where_clause: Option<&WhereClause>,
    ours: impl Iterator<Item = TokenStream>,
) -> TokenStream {
    let theirs = where_clause.into_iter().flat_map(|clause| &clause.predicates);
    let mut predicates: Vec<_> = theirs.map(ToTokens::to_token_stream).collect();
    predicates.extend(ours);
    if predicates.is_empty() { TokenStream::new() } else { quote!(where #(#predicates,)*) }
}

fn always_has_default(ty: &Type) -> bool {
    const KNOWN: [&str; 10] = ["bool", "f32", "f64", "u8", "u32", "u64", "usize", "String", "Vec", "Option"];
    let Type::Path(path) = ty else { return false };
    let name = path.path.segments.last().filter(|_| path.qself.is_none());
    name.is_some_and(|last| KNOWN.iter().any(|known| last.ident == known))
}

fn initial_value(field: &Field) -> TokenStream {
    let Field { member, conditions, role, ty } = field;
    let (first, last) = ends(ty);
    let at_type = at(first.join(last).unwrap_or(first));
    let value = match role {
        Role::Own => quote_spanned!(at_type=> ::core::default::Default::default()),
        Role::Param(param) => match &param.default {
            Some(default) => default_value(default, at_type),
            None => quote_spanned!(at_type=> __private::None),
        },
    };
    let name = quote_spanned!(at_type=> #(#conditions)* #member:);
    [name, value, Token![,](at_type).to_token_stream()].into_iter().collect()
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
    if default.optional { quote_spanned!(at_type=> __private::Some(#value)) } else { value }
}
