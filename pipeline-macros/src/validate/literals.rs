//! Literals in the form that generated code takes.

use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Expr, ExprUnary, Lit, LitFloat};

use crate::model::DefaultValue;
use crate::parse::Literal;

pub(super) fn default_value(literal: Literal, float: bool) -> DefaultValue {
    match literal {
        Literal::Number { .. } => DefaultValue::Number(number(&literal, float)),
        Literal::Boolean(value) => DefaultValue::Boolean(value),
        Literal::Text(text) => DefaultValue::Text(text),
        Literal::NumberList { expr, .. } => {
            DefaultValue::NumberList(if float { floating(expr) } else { expr })
        }
        Literal::TextList { expr, texts } => DefaultValue::TextList { texts, span: expr.span() },
    }
}

/// A number as Rust wants it: `1` becomes `1.0` where the parameter is a float.
pub(super) fn number(literal: &Literal, float: bool) -> Expr {
    let expr = match literal {
        Literal::Number { expr, .. } => expr.clone(),
        other => syn::Expr::Verbatim(other.to_token_stream()),
    };
    if float { floating(expr) } else { expr }
}

fn floating(expr: Expr) -> Expr {
    match expr {
        Expr::Lit(mut literal) => {
            if let Lit::Int(number) = &literal.lit
                && number.suffix().is_empty()
            {
                literal.lit =
                    Lit::Float(LitFloat::new(&format!("{}.0", number.base10_digits()), number.span()));
            }
            Expr::Lit(literal)
        }
        Expr::Unary(unary) => Expr::Unary(ExprUnary { expr: Box::new(floating(*unary.expr)), ..unary }),
        Expr::Array(mut array) => {
            array.elems = array.elems.into_iter().map(floating).collect();
            Expr::Array(array)
        }
        other => other,
    }
}
