//! The struct under the attribute.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Error, Field, Item, ItemStruct, Member, Meta, Type};

use super::param::Param;
use crate::error::Errors;

/// The struct as written, less its `#[param]`, and what those say.
pub(crate) struct Declared {
    /// Without `#[param]`; without fields where they cannot be read.
    pub(crate) item: ItemStruct,
    /// The tokens to emit for it: also where they cannot be read, so that it never vanishes in an editor.
    pub(crate) written: TokenStream,
    pub(crate) fields: Vec<DeclaredField>,
    /// What stands in the parentheses of every `#[param(...)]`.
    pub(crate) params: Vec<TokenStream>,
}

/// A field of the struct.
pub(crate) struct DeclaredField {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    /// `#[cfg(...)]` of the field: what is generated for it is there under the same condition.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) param: Option<Param>,
}

impl Declared {
    /// The item is a struct.
    ///
    /// The error holds the item to emit: as written, less the `#[param]` attributes, which mean nothing elsewhere.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Result<Declared, (TokenStream, Error)> {
        match syn::parse2::<ItemStruct>(tokens.clone()) {
            Ok(item) => Ok(Declared::of(item, errors)),
            Err(error) => {
                let mut params = Vec::new();
                let written = without_params(tokens, &mut params);
                if let Some(error) = not_a_struct(&written) {
                    return Err((written, error));
                }
                match syn::parse2::<ItemStruct>(without_fields(written.clone())) {
                    Ok(item) => {
                        errors.add(error);
                        Ok(Declared { item, written, fields: Vec::new(), params })
                    }
                    Err(_) => Err((written, error)),
                }
            }
        }
    }

    fn of(mut item: ItemStruct, errors: &mut Errors) -> Declared {
        let fields = item
            .fields
            .iter()
            .zip(item.fields.members())
            .map(|(field, member)| DeclaredField::parse(field, member, errors))
            .collect();
        let mut params = Vec::new();
        for field in &mut item.fields {
            for attribute in field.attrs.extract_if(.., |attribute| is_param(attribute)) {
                if let Meta::List(list) = attribute.meta {
                    params.push(list.tokens);
                }
            }
        }
        Declared { written: item.to_token_stream(), item, fields, params }
    }
}

/// What is said of an item of another kind.
fn not_a_struct(tokens: &TokenStream) -> Option<Error> {
    let item = syn::parse2::<Item>(tokens.clone()).ok()?;
    let (kind, marked) = match &item {
        Item::Struct(_) => return None,
        Item::Enum(item) => ("an enum", item.ident.to_token_stream()),
        Item::Union(item) => ("a union", item.ident.to_token_stream()),
        Item::Fn(item) => ("a function", item.sig.ident.to_token_stream()),
        Item::Impl(item) => ("an impl block", item.impl_token.to_token_stream()),
        Item::Trait(item) => ("a trait", item.ident.to_token_stream()),
        Item::Mod(item) => ("a module", item.ident.to_token_stream()),
        Item::Type(item) => ("a type alias", item.ident.to_token_stream()),
        other => ("another item", other.to_token_stream()),
    };
    let message =
        format!("`#[pipeline]` declares a struct, but this is {kind}; write `struct Name {{ ... }}`");
    Some(Error::new_spanned(marked, message))
}

impl DeclaredField {
    /// A field has one `#[param]` at most.
    fn parse(field: &Field, member: Member, errors: &mut Errors) -> DeclaredField {
        let mut params = field.attrs.iter().filter(|attribute| is_param(attribute));
        let param = params.next().map(|attribute| Param::parse(attribute, errors));
        for other in params {
            errors.push(other.path(), "`#[param]` is given twice; write both keys in one");
        }
        let conditions =
            field.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect();
        DeclaredField { member, ty: field.ty.clone(), conditions, param }
    }
}

fn is_param(attribute: &Attribute) -> bool {
    attribute.path().is_ident("param")
}

/// The tokens of an item less every `#[param]`, of which `params` is given what stands in the parentheses.
pub(crate) fn without_params(tokens: TokenStream, params: &mut Vec<TokenStream>) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        let TokenTree::Group(group) = token else {
            kept.push(token);
            continue;
        };
        let attribute = group.delimiter() == Delimiter::Bracket
            && matches!(kept.last(), Some(TokenTree::Punct(hash)) if hash.as_char() == '#');
        if attribute {
            let mut inner = group.stream().into_iter();
            if matches!(inner.next(), Some(TokenTree::Ident(word)) if word == "param") {
                kept.pop();
                if let Some(TokenTree::Group(list)) = inner.next() {
                    params.push(list.stream());
                }
            } else {
                kept.push(group.into());
            }
            continue;
        }
        let mut inner = Group::new(group.delimiter(), without_params(group.stream(), params));
        inner.set_span(group.span());
        kept.push(inner.into());
    }
    kept.into_iter().collect()
}

/// The tokens of a struct with nothing in the braces or parentheses of its fields.
fn without_fields(tokens: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let fields = tokens.iter_mut().rev().find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() != Delimiter::Bracket => Some(group),
        _ => None,
    });
    if let Some(fields) = fields {
        *fields = Group::new(fields.delimiter(), TokenStream::new());
    }
    tokens.into_iter().collect()
}
