//! The list in the parentheses of an attribute, read so that one mistake hides nothing after it.

use proc_macro2::{Group, TokenStream, TokenTree};
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, Lit, Path, Result, Token};

/// What stands between commas. What cannot be parsed ends at the next comma, so that it hides nothing after it.
pub(super) struct Items(pub(super) Vec<Result<Item>>);

/// What may stand between two commas.
pub(super) enum Item {
    Entry(Entry),
    /// A value without a key.
    Value(Lit),
}

/// One `key`, `key = value` or `key(...)`.
pub(crate) struct Entry {
    pub(super) key: Path,
    pub(super) given: Given,
}

/// What stands behind a key.
pub(super) enum Given {
    Nothing,
    Value(Expr),
    /// What stands behind `=` and is no expression, or nothing.
    Unreadable(TokenStream),
    /// What stands in parentheses.
    List(TokenStream),
}

impl Parse for Items {
    fn parse(input: ParseStream<'_>) -> Result<Items> {
        let mut items = Vec::new();
        while !input.is_empty() {
            let ahead = input.fork();
            items.push(match Item::parse(&ahead) {
                Ok(item) if ends(&ahead) => {
                    input.advance_to(&ahead);
                    Ok(item)
                }
                _ => Err(Error::new_spanned(until_comma(input)?, "expected `key = value`")),
            });
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Items(items))
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Item> {
        if input.peek(Lit) && !input.peek2(Token![=]) {
            return input.parse().map(Item::Value);
        }
        let key = input.call(Path::parse_mod_style)?;
        let given = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            let ahead = input.fork();
            match ahead.parse::<Expr>() {
                Ok(value) if ends(&ahead) => {
                    input.advance_to(&ahead);
                    Given::Value(value)
                }
                _ => Given::Unreadable(until_comma(input)?),
            }
        } else if ends(input) {
            Given::Nothing
        } else {
            Given::List(input.parse::<Group>()?.stream())
        };
        Ok(Item::Entry(Entry { key, given }))
    }
}

fn ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
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
