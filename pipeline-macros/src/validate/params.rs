//! The rules of the `#[param]` fields.

use pipeline_schema::{ArchitectureSpec, ParameterKind, ParameterSpec, suggest};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Expr, Ident, Member, Type};

use super::DeclaredValue;
use super::literals::{default_value, number};
use super::types::{named, option_of};
use crate::error::Errors;
use crate::model::{Default, DefaultValue, Field, ParamField, Range, Role};
use crate::parse::param::DeclaredRange;
use crate::parse::{DeclaredField, Literal, Param};

/// Holds a field against the rules of its own, and adds its parameter to `values` for the rules that macro and
/// loader share: among them, that the parameter is known and its value in range.
///
/// `architecture` is none for one of the user's own: the compiler alone checks its parameters.
pub(super) fn field(
    field: DeclaredField,
    architecture: Option<&ArchitectureSpec>,
    values: &mut Vec<DeclaredValue>,
    errors: &mut Errors,
) -> Field {
    let role = match (&field.param, &field.member) {
        (None, _) => Role::Own,
        (Some(param), Member::Unnamed(_)) => {
            unnamed(param, errors);
            Role::Own
        }
        (Some(param), Member::Named(name)) => {
            let text = name.unraw().to_string();
            match architecture.map(|architecture| architecture.parameter(&text)) {
                Some(Some(spec)) => table_param(name, &field.ty, param, spec, values, errors),
                Some(None) => {
                    values.push(DeclaredValue { name: text, value: None, tokens: name.to_token_stream() });
                    Role::Own
                }
                None => own_param(name, &field.ty, param, errors),
            }
        }
    };
    Field { member: field.member, ty: field.ty, conditions: field.conditions, role }
}

/// A parameter has a name.
fn unnamed(param: &Param, errors: &mut Errors) {
    errors.push(&param.word, "a parameter is found by its name; write the struct with named fields");
}

/// A parameter that the tables know.
fn table_param(
    name: &Ident,
    ty: &Type,
    param: &Param,
    spec: &ParameterSpec,
    values: &mut Vec<DeclaredValue>,
    errors: &mut Errors,
) -> Role {
    let typed = possible_type(ty, spec, errors);
    let example = if spec.default.parse::<f64>().is_ok() { spec.default } else { "..." };
    default_or_option(name, ty, param, example, errors);
    let default = param.default.as_ref().and_then(|expr| literal(expr, spec, errors));
    let range = param.range.as_ref().filter(|range| possible_range(range, spec, errors));
    if let (Some(default), Some(range)) = (&default, range) {
        default_in_range(default, range, spec, errors);
    }
    values.push(DeclaredValue {
        name: spec.name.to_owned(),
        // Where the field's type is wrong already, a default of that wrong type is not reported as well.
        value: default.as_ref().filter(|_| typed).map(Literal::value),
        tokens: default.as_ref().map_or_else(|| name.to_token_stream(), ToTokens::to_token_stream),
    });
    let float = matches!(spec.kind, ParameterKind::Float { .. } | ParameterKind::Tuples { .. });
    let optional = option_of(ty).is_some();
    Role::Param(Box::new(ParamField {
        default: default.map(|default| Default { value: default_value(default, float), optional }),
        range: range
            .map(|range| Range { start: number(&range.start, float), end: number(&range.end, float) }),
    }))
}

/// A parameter of an architecture that no table knows.
fn own_param(name: &Ident, ty: &Type, param: &Param, errors: &mut Errors) -> Role {
    default_or_option(name, ty, param, "...", errors);
    let optional = option_of(ty).is_some();
    let float = named(option_of(ty).unwrap_or(ty)).is_some_and(|name| matches!(name.as_str(), "f32" | "f64"));
    let value = |expr: &Expr| match Literal::from_expr(expr) {
        Some(literal) => default_value(literal, float),
        None => DefaultValue::Other(expr.clone()),
    };
    Role::Param(Box::new(ParamField {
        default: param.default.as_ref().map(|expr| Default { value: value(expr), optional }),
        range: param
            .range
            .as_ref()
            .map(|range| Range { start: number(&range.start, float), end: number(&range.end, float) }),
    }))
}

/// A field's type is one that the parameter can be set from.
///
/// Only names that everybody knows are judged here; the compiler judges the rest by its traits.
fn possible_type(ty: &Type, spec: &ParameterSpec, errors: &mut Errors) -> bool {
    const KNOWN: [&str; 18] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
        "u128", "usize", "String", "&str",
    ];
    let types = spec.kind.rust_types();
    let Some(name) = named(option_of(ty).unwrap_or(ty)) else { return true };
    let judged = KNOWN.contains(&name.as_str()) || name.starts_with("Vec<");
    if !judged || types.contains(&name.as_str()) {
        return true;
    }
    let parameter = spec.name;
    let instead = suggest::one_of(types.iter().copied());
    errors.push(ty, format!("`{parameter}` cannot be set from `{name}`; {instead}"));
    false
}

/// A parameter without a default is an `Option`.
fn default_or_option(name: &Ident, ty: &Type, param: &Param, example: &str, errors: &mut Errors) {
    if param.default.is_none() && !param.unreadable && option_of(ty).is_none() {
        let ty = ty.to_token_stream().to_string().replace(' ', "");
        let instead = format!(
            "write `#[param(default = {example})]`, or `Option<{ty}>` for a parameter that may stay unset"
        );
        errors.push(&param.word, format!("`{name}` has no default; {instead}"));
    }
}

/// A default is a literal: its value is known while compiling.
fn literal(expr: &Expr, spec: &ParameterSpec, errors: &mut Errors) -> Option<Literal> {
    let literal = Literal::from_expr(expr);
    if literal.is_none() {
        let (name, expected) = (spec.name, spec.kind.expected());
        let example = match spec.kind {
            ParameterKind::TextList => ", as `[\"...\"]`",
            ParameterKind::IntegerList { .. } => ", as `[1, 0]`",
            ParameterKind::Tuples { .. } => ", as `[[...], [...]]`",
            _ => "",
        };
        let message = format!(
            "the default of `{name}` is checked while compiling; write a literal: {expected}{example}"
        );
        errors.push(expr, message);
    }
    literal
}

/// A range is of numbers, begins before it ends, and lies within what the parameter can be.
fn possible_range(range: &DeclaredRange, spec: &ParameterSpec, errors: &mut Errors) -> bool {
    let name = spec.name;
    if !matches!(spec.kind, ParameterKind::Integer { .. } | ParameterKind::Float { .. }) {
        errors.push(&range.tokens, format!("`{name}` is no number; remove `range`"));
        return false;
    }
    let mut possible = true;
    for end in [&range.start, &range.end] {
        if let Err(message) = spec.kind.check(name, &end.value()) {
            errors.push(end, format!("in this range {message}"));
            possible = false;
        }
    }
    if possible && as_f64(&range.start) > as_f64(&range.end) {
        errors.push(&range.tokens, "no value is in this range; write the smaller end first");
        possible = false;
    }
    possible
}

/// A default lies in the declared range.
fn default_in_range(default: &Literal, range: &DeclaredRange, spec: &ParameterSpec, errors: &mut Errors) {
    let value = as_f64(default);
    let (start, end) = (range.start.value(), range.end.value());
    if value < as_f64(&range.start) || value > as_f64(&range.end) {
        let (name, value) = (spec.name, default.value());
        errors.push(
            default,
            format!("`{name}` is {value}, but its range is declared to be from {start} to {end}"),
        );
    }
}

fn as_f64(literal: &Literal) -> f64 {
    literal.value().as_f64().unwrap_or(f64::NAN)
}
