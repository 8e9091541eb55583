//! What `#[param(...)]` says of a field.

use proc_macro2::TokenStream;
use syn::{Attribute, Error, Expr, Meta, Path, RangeLimits, Result};

use super::keys::{self, Entry, PARAM_KEYS, ParamKeys};
use super::value::{Literal, ungroup};
use crate::error::Errors;

/// What `#[param]` or `#[param(...)]` says.
pub(crate) struct Param {
    /// The word `param`, for what is missing.
    pub(crate) word: Path,
    pub(crate) default: Option<Expr>,
    pub(crate) range: Option<DeclaredRange>,
    /// A key was there whose value could not be read.
    pub(crate) unreadable: bool,
}

/// `range = 0.1..=1.5`.
#[derive(Clone)]
pub(crate) struct DeclaredRange {
    pub(crate) start: Literal,
    pub(crate) end: Literal,
    pub(crate) tokens: Expr,
}

impl Param {
    pub(crate) fn parse(attribute: &Attribute, errors: &mut Errors) -> Param {
        let tokens = match &attribute.meta {
            Meta::Path(_) => TokenStream::new(),
            Meta::List(list) => list.tokens.clone(),
            Meta::NameValue(meta) => {
                errors.push(&meta.value, "a parameter's default is named; write `#[param(default = ...)]`");
                return Param { word: meta.path.clone(), default: None, range: None, unreadable: true };
            }
        };
        let before = errors.len();
        let (keys, _): (ParamKeys, _) = keys::read(tokens, &PARAM_KEYS, errors);
        keys.unknown.check(&PARAM_KEYS, errors);
        let default = keys::single(keys.default, errors)
            .and_then(|entry| errors.ok(entry.value("default = 1").cloned()));
        let range =
            keys::single(keys.range, errors).and_then(|entry| errors.ok(DeclaredRange::parse(&entry)));
        Param { word: attribute.path().clone(), default, range, unreadable: errors.len() > before }
    }
}

impl DeclaredRange {
    /// A range has two literal ends, both included.
    fn parse(entry: &Entry) -> Result<DeclaredRange> {
        let expr = entry.value("range = 0.1..=1.5")?;
        let wrong = || Error::new_spanned(expr, "expected a range with both ends, as in `0.1..=1.5`");
        let Expr::Range(range) = ungroup(expr) else { return Err(wrong()) };
        let (Some(start), Some(end)) = (&range.start, &range.end) else { return Err(wrong()) };
        let literal = |end: &Expr| {
            Literal::from_expr(end).ok_or_else(|| {
                Error::new_spanned(end, "a range is checked while compiling; write a literal: a number")
            })
        };
        let (start, end) = (literal(start)?, literal(end)?);
        if let RangeLimits::HalfOpen(dots) = &range.limits {
            return Err(Error::new_spanned(dots, "both ends of a range are included; write `..=`"));
        }
        Ok(DeclaredRange { start, end, tokens: expr.clone() })
    }
}
