//! The values that a key can have: words, paths and literals.

use pipeline_schema::Value;
use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::{
    BinOp, Expr, ExprArray, ExprBinary, ExprLit, ExprPath, ExprUnary, Lit, LitBool, LitStr, Path, UnOp,
};

/// A word, bare (`moe`, `text-generation`) or quoted (`"moe"`), or the path of a type or module.
#[derive(Clone)]
pub(crate) enum Word {
    Quoted(LitStr),
    Bare(Ident),
    Dashed { text: String, tokens: TokenStream },
    Path(Path),
}

impl Word {
    /// Reads a word; nothing when the expression is something else.
    pub(crate) fn from_expr(expr: &Expr) -> Option<Word> {
        match ungroup(expr) {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(Word::Quoted(text.clone())),
            Expr::Path(ExprPath { qself: None, path, .. }) => Some(match path.get_ident() {
                Some(ident) => Word::Bare(ident.clone()),
                None => Word::Path(path.clone()),
            }),
            Expr::Binary(ExprBinary { left, op: BinOp::Sub(_), right, .. }) => {
                let (left, right) = (Word::from_expr(left)?, Word::from_expr(right)?);
                let text = format!("{}-{}", left.bare_text()?, right.bare_text()?);
                Some(Word::Dashed { text, tokens: expr.to_token_stream() })
            }
            _ => None,
        }
    }

    /// The text of a word; a path has none.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Word::Quoted(text) => Some(text.value()),
            _ => self.bare_text(),
        }
    }

    /// The word as an error shows it.
    pub(crate) fn shown(&self) -> String {
        self.text().unwrap_or_else(|| self.to_token_stream().to_string().replace(' ', ""))
    }

    fn bare_text(&self) -> Option<String> {
        match self {
            Word::Bare(ident) => Some(ident.to_string()),
            Word::Dashed { text, .. } => Some(text.clone()),
            Word::Quoted(_) | Word::Path(_) => None,
        }
    }

    /// The path of a type of the user's own: anything with `::` or `<>`, or one name in upper case.
    pub(crate) fn type_path(&self) -> Option<Path> {
        match self {
            Word::Path(path) => Some(path.clone()),
            Word::Bare(ident) if ident.to_string().starts_with(char::is_uppercase) => {
                Some(Path::from(ident.clone()))
            }
            _ => None,
        }
    }
}

impl ToTokens for Word {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Word::Quoted(text) => text.to_tokens(tokens),
            Word::Bare(ident) => ident.to_tokens(tokens),
            Word::Dashed { tokens: word, .. } => tokens.extend(word.clone()),
            Word::Path(path) => path.to_tokens(tokens),
        }
    }
}

/// A literal whose value is known while compiling.
#[derive(Clone)]
pub(crate) enum Literal {
    Number {
        expr: Expr,
        value: Value,
    },
    Boolean(LitBool),
    Text(LitStr),
    TextList {
        expr: Expr,
        texts: Vec<LitStr>,
    },
    /// Whole numbers, or lists of numbers.
    NumberList {
        expr: Expr,
        value: Value,
    },
}

impl Literal {
    /// Reads a literal; nothing when the expression is something else.
    pub(crate) fn from_expr(expr: &Expr) -> Option<Literal> {
        match ungroup(expr) {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(Literal::Text(text.clone())),
            Expr::Lit(ExprLit { lit: Lit::Bool(value), .. }) => Some(Literal::Boolean(value.clone())),
            Expr::Array(array) => {
                let text = |element: &Expr| match Literal::from_expr(element)? {
                    Literal::Text(text) => Some(text),
                    _ => None,
                };
                let expr = expr.clone();
                match array.elems.iter().map(text).collect() {
                    Some(texts) => Some(Literal::TextList { expr, texts }),
                    None => Some(Literal::NumberList { value: numbers_of(array)?, expr }),
                }
            }
            number => Some(Literal::Number { value: number_of(number)?, expr: number.clone() }),
        }
    }

    /// The value, in the form that the rules take.
    pub(crate) fn value(&self) -> Value {
        match self {
            Literal::Number { value, .. } | Literal::NumberList { value, .. } => value.clone(),
            Literal::Boolean(value) => Value::Boolean(value.value),
            Literal::Text(text) => Value::Text(text.value()),
            Literal::TextList { texts, .. } => Value::TextList(texts.iter().map(LitStr::value).collect()),
        }
    }
}

impl ToTokens for Literal {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Literal::Number { expr, .. }
            | Literal::TextList { expr, .. }
            | Literal::NumberList { expr, .. } => expr.to_tokens(tokens),
            Literal::Boolean(value) => value.to_tokens(tokens),
            Literal::Text(text) => text.to_tokens(tokens),
        }
    }
}

fn number_of(expr: &Expr) -> Option<Value> {
    match ungroup(expr) {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => {
            let float = matches!(number.suffix(), "f32" | "f64");
            if float {
                number.base10_parse().ok().map(Value::Float)
            } else {
                number.base10_parse().ok().map(Value::Integer)
            }
        }
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => number.base10_parse().ok().map(Value::Float),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => match number_of(expr)? {
            Value::Integer(number) => Some(Value::Integer(-number)),
            Value::Float(number) => Some(Value::Float(-number)),
            _ => None,
        },
        _ => None,
    }
}

/// `[1, 0]` or `[[0.5, 2], [1, 3]]`.
fn numbers_of(array: &ExprArray) -> Option<Value> {
    let whole = |element| match number_of(element)? {
        Value::Integer(number) => Some(number),
        _ => None,
    };
    let tuple = |element: &Expr| match ungroup(element) {
        Expr::Array(tuple) => tuple.elems.iter().map(|number| number_of(number)?.as_f64()).collect(),
        _ => None,
    };
    let integers = array.elems.iter().map(whole).collect::<Option<_>>().map(Value::IntegerList);
    integers.or_else(|| array.elems.iter().map(tuple).collect::<Option<_>>().map(Value::Tuples))
}

/// The expression inside the invisible parentheses that `macro_rules!` puts around a fragment.
pub(crate) fn ungroup(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => ungroup(&group.expr),
        _ => expr,
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn words_are_bare_or_quoted() {
        for (expr, text) in [
            (parse_quote!("moe"), Some("moe")),
            (parse_quote!(moe), Some("moe")),
            (parse_quote!(text - generation), Some("text-generation")),
            (parse_quote!(retrieval - augmented - generation), Some("retrieval-augmented-generation")),
            (parse_quote!(crate::Moe), None),
        ] {
            assert_eq!(Word::from_expr(&expr).unwrap().text().as_deref(), text);
        }
        assert!(Word::from_expr(&parse_quote!(1)).is_none());
        assert!(Word::from_expr(&parse_quote!(text - 1)).is_none());
    }

    #[test]
    fn a_type_is_a_path_or_in_upper_case() {
        let is_type = |expr| Word::from_expr(&expr).unwrap().type_path().is_some();
        assert!(is_type(parse_quote!(crate::arch::bags)));
        assert!(is_type(parse_quote!(Bags)));
        assert!(is_type(parse_quote!(Bags::<f32>)));
        assert!(!is_type(parse_quote!(bags)));
        assert!(!is_type(parse_quote!("Bags")));
    }

    #[test]
    fn literals_have_values() {
        let value = |expr| Literal::from_expr(&expr).map(|literal| literal.value());
        assert_eq!(value(parse_quote!(2)), Some(Value::Integer(2)));
        assert_eq!(value(parse_quote!(1_000usize)), Some(Value::Integer(1000)));
        assert_eq!(value(parse_quote!(-1)), Some(Value::Integer(-1)));
        assert_eq!(value(parse_quote!(0.8)), Some(Value::Float(0.8)));
        assert_eq!(value(parse_quote!(-0.5f32)), Some(Value::Float(-0.5)));
        assert_eq!(value(parse_quote!(1f32)), Some(Value::Float(1.0)));
        assert_eq!(value(parse_quote!(true)), Some(Value::Boolean(true)));
        assert_eq!(value(parse_quote!("drop")), Some(Value::Text("drop".to_owned())));
        assert_eq!(value(parse_quote!(["a", "b"])), Some(Value::TextList(vec!["a".into(), "b".into()])));
        assert_eq!(value(parse_quote!([])), Some(Value::TextList(Vec::new())));
        assert_eq!(value(parse_quote!([1, 0])), Some(Value::IntegerList(vec![1, 0])));
        assert_eq!(
            value(parse_quote!([[0.5, 2], [-1, 3]])),
            Some(Value::Tuples(vec![vec![0.5, 2.0], vec![-1.0, 3.0]]))
        );
        assert_eq!(value(parse_quote!([1, "a"])), None);
        assert_eq!(value(parse_quote!([[1, LIMIT]])), None);
        assert_eq!(value(parse_quote!(LIMIT)), None);
        assert_eq!(value(parse_quote!(1 + 1)), None);
    }
}
