//! What the tokens of a type tell without a compiler.

use quote::ToTokens;
use syn::{GenericArgument, PathArguments, Type};

/// `T` of `Option<T>`.
pub(super) fn option_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ungroup(ty) else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        },
        _ => None,
    }
}

/// The name of a type as the tables write it: `usize`, `&str`, `Vec<[f32; 2]>`.
pub(super) fn named(ty: &Type) -> Option<String> {
    match ungroup(ty) {
        Type::Reference(reference) => {
            named(&reference.elem).filter(|name| name == "str").map(|name| format!("&{name}"))
        }
        Type::Array(array) => Some(format!("[{}; {}]", named(&array.elem)?, array.len.to_token_stream())),
        Type::Path(path) if path.qself.is_none() => {
            let last = path.path.segments.last()?;
            match &last.arguments {
                PathArguments::None => Some(last.ident.to_string()),
                PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
                    GenericArgument::Type(ty) => Some(format!("{}<{}>", last.ident, named(ty)?)),
                    _ => None,
                },
                PathArguments::Parenthesized(_) => None,
            }
        }
        _ => None,
    }
}

fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungroup(&group.elem),
        Type::Paren(paren) => ungroup(&paren.elem),
        _ => ty,
    }
}
