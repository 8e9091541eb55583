//! The adjustable parameters of an architecture: names, types, ranges and defaults.

use std::fmt;

/// The type of a parameter, in the words that an error uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParameterKind {
    /// A whole number from `min` to `max`, both included.
    Integer {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// A number from `min` to `max`, both included.
    Float {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// `true` or `false`.
    Boolean,
    /// A text.
    Text,
    /// A list of texts.
    TextList,
    /// One word of a list.
    Choice(&'static [&'static str]),
}

/// A value that a declaration or a configuration file gives to a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i128),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    TextList(Vec<String>),
}

/// One adjustable parameter.
#[derive(Debug, PartialEq)]
pub struct ParameterSpec {
    /// The name, as Hugging Face writes it.
    pub name: &'static str,
    /// Its type and range.
    pub kind: ParameterKind,
    /// Its default in words: a value, or where the value comes from.
    pub default: &'static str,
    /// What it does, in a sentence.
    pub description: &'static str,
}

impl ParameterKind {
    /// The Rust types that a `#[param]` field of this parameter may have, the usual one first.
    /// `Option` of each is accepted as well: `None` leaves the parameter at its default.
    pub const fn rust_types(self) -> &'static [&'static str] {
        match self {
            ParameterKind::Integer { .. } => &["usize", "u64", "u32", "u16", "u8"],
            ParameterKind::Float { .. } => &["f32", "f64"],
            ParameterKind::Boolean => &["bool"],
            ParameterKind::Text | ParameterKind::Choice(_) => &["String", "&str"],
            ParameterKind::TextList => &["Vec<String>"],
        }
    }

    /// Says why `value` cannot be a value of the parameter `name`, or that it can.
    ///
    /// ```
    /// use pipeline_schema::{ParameterKind, Value};
    /// let kind = ParameterKind::Float { min: 0.0, max: 1.0 };
    /// assert!(kind.check("top_p", &Value::Float(0.9)).is_ok());
    /// assert_eq!(
    ///     kind.check("top_p", &Value::Float(1.5)).unwrap_err(),
    ///     "`top_p` is 1.5, but must be from 0 to 1",
    /// );
    /// ```
    pub fn check(self, name: &str, value: &Value) -> Result<(), String> {
        let wrong_type =
            |expected: &str| Err(format!("`{name}` must be {expected}, but is {}", value.type_name()));
        match (self, value) {
            (ParameterKind::Integer { min, max }, Value::Integer(number)) => {
                if (i128::from(min)..=i128::from(max)).contains(number) {
                    Ok(())
                } else if max == u64::MAX {
                    Err(format!("`{name}` is {number}, but must be at least {min}"))
                } else {
                    Err(format!("`{name}` is {number}, but must be from {min} to {max}"))
                }
            }
            (ParameterKind::Integer { .. }, _) => wrong_type("a whole number"),
            (ParameterKind::Float { min, max }, Value::Float(_) | Value::Integer(_)) => {
                let number = match *value {
                    Value::Integer(number) => number as f64,
                    Value::Float(number) => number,
                    _ => unreachable!("the arm takes numbers only"),
                };
                if number >= min && number <= max {
                    Ok(())
                } else if max == f64::INFINITY || max == f64::MAX {
                    Err(format!("`{name}` is {number}, but must be at least {min}"))
                } else {
                    Err(format!("`{name}` is {number}, but must be from {min} to {max}"))
                }
            }
            (ParameterKind::Float { .. }, _) => wrong_type("a number"),
            (ParameterKind::Boolean, Value::Boolean(_)) => Ok(()),
            (ParameterKind::Boolean, _) => wrong_type("`true` or `false`"),
            (ParameterKind::Text, Value::Text(_)) => Ok(()),
            (ParameterKind::Text, _) => wrong_type("a text"),
            (ParameterKind::TextList, Value::TextList(_)) => Ok(()),
            (ParameterKind::TextList, _) => wrong_type("a list of texts"),
            (ParameterKind::Choice(words), Value::Text(word)) => {
                if words.contains(&word.as_str()) {
                    Ok(())
                } else {
                    let instead = crate::suggest::instead(word, words.iter().copied());
                    Err(format!("`{name}` is `{word}`; {instead}"))
                }
            }
            (ParameterKind::Choice(_), _) => wrong_type("a text"),
        }
    }
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "a boolean",
            Value::Text(_) => "a text",
            Value::TextList(_) => "a list of texts",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(number) => write!(formatter, "{number}"),
            Value::Float(number) => write!(formatter, "{number}"),
            Value::Boolean(value) => write!(formatter, "{value}"),
            Value::Text(text) => write!(formatter, "{text:?}"),
            Value::TextList(texts) => write!(formatter, "{texts:?}"),
        }
    }
}
