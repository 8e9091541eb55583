//! The list in the parentheses of an attribute, read so that one mistake hides nothing after it.

use darling::ast::{MetaNameValueInvalidExpr, NestedMeta};
use proc_macro2::{TokenStream, TokenTree};
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream};
use syn::{
    Error, Expr, ExprArray, ExprLit, ExprPath, ExprRange, Ident, Meta, MetaNameValue, Path, RangeLimits,
    Result, Token,
};
use syn::{bracketed, token};

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
    let (eq_token, value) = (input.parse()?, value(input)?);
    Ok(NestedMeta::Meta(Meta::NameValue(MetaNameValue { path, eq_token, value })))
}

/// A value. Nearly every one is a literal, a word, a list of them or a range between literals, and is read as that alone:
/// to try all that an expression can begin with would take most of the time of reading an attribute.
fn value(input: ParseStream<'_>) -> Result<Expr> {
    let Some((first, after)) = input.cursor().token_tree() else { return input.parse() };
    let ends = after.eof() || after.punct().is_some_and(|(punct, _)| punct.as_char() == ',');
    let is_literal = matches!(first, TokenTree::Literal(_));
    let attrs = Vec::new();
    if is_literal && ends {
        literal(input)
    } else if is_literal && input.peek2(Token![..=]) {
        let start = Some(Box::new(literal(input)?));
        let limits = RangeLimits::Closed(input.parse()?);
        let end = Some(Box::new(value(input)?));
        Ok(Expr::Range(ExprRange { attrs, start, limits, end }))
    } else if ends && input.peek(Ident) {
        let path = Path::from(input.parse::<Ident>()?);
        Ok(Expr::Path(ExprPath { attrs, qself: None, path }))
    } else if ends && input.peek(token::Bracket) {
        let list;
        let bracket_token = bracketed!(list in input);
        let elems = list.parse_terminated(value, Token![,])?;
        Ok(Expr::Array(ExprArray { attrs, bracket_token, elems }))
    } else {
        input.parse()
    }
}

fn literal(input: ParseStream<'_>) -> Result<Expr> {
    Ok(Expr::Lit(ExprLit { attrs: Vec::new(), lit: input.parse()? }))
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
