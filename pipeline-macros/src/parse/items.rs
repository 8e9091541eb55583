//! The list in the parentheses of an attribute, read so that one mistake hides nothing after it.

use darling::ast::{MetaNameValueInvalidExpr, NestedMeta};
use proc_macro2::{TokenStream, TokenTree};
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Meta, MetaNameValue, Path, Result, Token};

/// What stands between commas. What cannot be parsed ends at the next comma, so that it hides nothing after it.
pub(super) struct Items(pub(super) Vec<Result<NestedMeta>>);

impl Items {
    pub(super) fn parse(input: ParseStream<'_>) -> Result<Items> {
        let mut items = Vec::new();
        while !input.is_empty() {
            let item = Items::ended(input, key_value).or_else(|_| Items::ended(input, NestedMeta::parse));
            items.push(match item {
                Ok(item) => Ok(item),
                Err(error) => Items::unreadable(input, error)?,
            });
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Items(items))
    }

    /// Parses what ends at a comma, or else parses nothing.
    fn ended(input: ParseStream<'_>, parse: fn(ParseStream<'_>) -> Result<NestedMeta>) -> Result<NestedMeta> {
        let ahead = input.fork();
        let item = parse(&ahead)?;
        if !ahead.is_empty() && !ahead.peek(Token![,]) {
            return Err(ahead.error("expected `,`"));
        }
        input.advance_to(&ahead);
        Ok(item)
    }

    /// `key =` and then something, or nothing of the kind.
    fn unreadable(input: ParseStream<'_>, error: Error) -> Result<Result<NestedMeta>> {
        let ahead = input.fork();
        let key = ahead.call(Path::parse_mod_style).and_then(|path| Ok((path, ahead.parse::<Token![=]>()?)));
        if key.is_ok() {
            input.advance_to(&ahead);
        }
        let value = until_comma(input)?;
        Ok(match key {
            Ok((path, eq_token)) => {
                let error = error.into();
                Ok(NestedMeta::NameValueInvalidExpr(MetaNameValueInvalidExpr {
                    path,
                    eq_token,
                    value,
                    error,
                }))
            }
            Err(_) => Err(Error::new_spanned(value, "expected `key = value`")),
        })
    }
}

/// `key = value`, where darling would make `-1` one literal, which has no place for all of it.
fn key_value(input: ParseStream<'_>) -> Result<NestedMeta> {
    let path = input.call(Path::parse_mod_style)?;
    let (eq_token, value) = (input.parse()?, input.parse()?);
    Ok(NestedMeta::Meta(Meta::NameValue(MetaNameValue { path, eq_token, value })))
}

/// The tokens before the next comma outside `<...>`.
fn until_comma(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    let mut depth = 0;
    while !input.is_empty() && (depth > 0 || !input.peek(Token![,])) {
        let token: TokenTree = input.parse()?;
        if let TokenTree::Punct(punct) = &token {
            depth += i32::from(punct.as_char() == '<') - i32::from(punct.as_char() == '>');
        }
        tokens.extend([token]);
    }
    Ok(tokens)
}
