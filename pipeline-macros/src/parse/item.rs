//! The struct under the attribute.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Error, Field, Item, ItemStruct, Member, Type};

use super::param::Param;
use crate::error::Errors;

/// The struct as written, less its `#[param]`, and what those say.
pub(crate) struct Declared {
    pub(crate) item: ItemStruct,
    pub(crate) fields: Vec<DeclaredField>,
}

/// A field of the struct.
pub(crate) struct DeclaredField {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    /// `#[cfg(...)]` of the field: what is generated for it is there under the same condition.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) param: Option<Param>,
}

/// The item is a struct.
///
/// The error holds the item to emit: as written, less the `#[param]` attributes, which mean nothing elsewhere.
pub(crate) fn parse(item: TokenStream) -> Result<ItemStruct, (TokenStream, Error)> {
    let mut item = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Struct(item)) => return Ok(item),
        Ok(item) => item,
        Err(error) => return Err((item, error)),
    };
    let (kind, marked) = match &item {
        Item::Enum(item) => ("an enum", item.ident.to_token_stream()),
        Item::Union(item) => ("a union", item.ident.to_token_stream()),
        Item::Fn(item) => ("a function", item.sig.ident.to_token_stream()),
        Item::Impl(item) => ("an impl block", item.impl_token.to_token_stream()),
        Item::Trait(item) => ("a trait", item.ident.to_token_stream()),
        Item::Mod(item) => ("a module", item.ident.to_token_stream()),
        Item::Type(item) => ("a type alias", item.ident.to_token_stream()),
        other => ("another item", other.to_token_stream()),
    };
    StripParam.visit_item_mut(&mut item);
    let message =
        format!("`#[pipeline]` declares a struct, but this is {kind}; write `struct Name {{ ... }}`");
    Err((item.into_token_stream(), Error::new_spanned(marked, message)))
}

impl Declared {
    pub(crate) fn parse(mut item: ItemStruct, errors: &mut Errors) -> Declared {
        let fields = item
            .fields
            .iter()
            .zip(item.fields.members())
            .map(|(field, member)| DeclaredField::parse(field, member, errors))
            .collect();
        StripParam.visit_item_struct_mut(&mut item);
        Declared { item, fields }
    }
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

struct StripParam;

impl VisitMut for StripParam {
    fn visit_field_mut(&mut self, field: &mut Field) {
        field.attrs.retain(|attribute| !is_param(attribute));
        visit_mut::visit_field_mut(self, field);
    }
}

fn is_param(attribute: &Attribute) -> bool {
    attribute.path().is_ident("param")
}
