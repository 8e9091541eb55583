//! The adjustable parameters of an architecture: names, types, ranges and defaults.

use std::fmt;

use crate::task::TaskSpec;

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
    /// A list of whole numbers from `min` to `max`, both included.
    IntegerList {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// A list of points or boxes: so many numbers each.
    Tuples {
        /// Numbers in each.
        length: usize,
    },
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
    /// A list of whole numbers.
    IntegerList(Vec<i128>),
    /// A list of lists of numbers.
    Tuples(Vec<Vec<f64>>),
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
    /// The tasks that it has an effect on; none for all that its architecture does.
    pub tasks: &'static [&'static TaskSpec],
}

impl ParameterSpec {
    /// Whether it has an effect on the task.
    pub fn is_of(&self, task: &TaskSpec) -> bool {
        self.tasks.is_empty() || self.tasks.contains(&task)
    }
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
            ParameterKind::IntegerList { .. } => &["Vec<u8>"],
            ParameterKind::Tuples { length: 2 } => &["Vec<[f32; 2]>"],
            ParameterKind::Tuples { .. } => &["Vec<[f32; 4]>"],
        }
    }

    /// What a value of it is, in words.
    pub fn expected(self) -> String {
        match self {
            ParameterKind::Integer { .. } => "a whole number".to_owned(),
            ParameterKind::Float { .. } => "a number".to_owned(),
            ParameterKind::Boolean => "`true` or `false`".to_owned(),
            ParameterKind::Text | ParameterKind::Choice(_) => "a text".to_owned(),
            ParameterKind::TextList => "a list of texts".to_owned(),
            ParameterKind::IntegerList { .. } => "a list of whole numbers".to_owned(),
            ParameterKind::Tuples { length } => format!("a list of lists of {length} numbers"),
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
            (ParameterKind::Float { min, max }, Value::Float(_) | Value::Integer(_)) => {
                let number = value.as_f64().expect("the arm takes numbers only");
                if number >= min && number <= max {
                    Ok(())
                } else if max == f64::INFINITY || max == f64::MAX {
                    Err(format!("`{name}` is {number}, but must be at least {min}"))
                } else {
                    Err(format!("`{name}` is {number}, but must be from {min} to {max}"))
                }
            }
            (ParameterKind::Boolean, Value::Boolean(_))
            | (ParameterKind::Text, Value::Text(_))
            | (ParameterKind::TextList, Value::TextList(_)) => Ok(()),
            (ParameterKind::Choice(words), Value::Text(word)) => {
                if words.contains(&word.as_str()) {
                    Ok(())
                } else {
                    let instead = crate::suggest::instead(word, words.iter().copied());
                    Err(format!("`{name}` is `{word}`; {instead}"))
                }
            }
            (ParameterKind::IntegerList { min, max }, Value::IntegerList(numbers)) => {
                let range = i128::from(min)..=i128::from(max);
                match numbers.iter().find(|number| !range.contains(number)) {
                    Some(number) => {
                        Err(format!("`{name}` has {number}, but its numbers must be from {min} to {max}"))
                    }
                    None => Ok(()),
                }
            }
            (ParameterKind::Tuples { length }, Value::Tuples(tuples)) => {
                match tuples.iter().find(|tuple| tuple.len() != length) {
                    Some(tuple) => {
                        let found = tuple.len();
                        Err(format!(
                            "`{name}` has a list of {found} numbers, but each must be a list of {length}"
                        ))
                    }
                    None => Ok(()),
                }
            }
            // An empty list is one of anything.
            (ParameterKind::IntegerList { .. } | ParameterKind::Tuples { .. }, Value::TextList(texts))
                if texts.is_empty() =>
            {
                Ok(())
            }
            _ => Err(format!("`{name}` must be {}, but is {}", self.expected(), value.type_name())),
        }
    }
}

impl Value {
    /// The number, whole or not, where it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "a boolean",
            Value::Text(_) => "a text",
            Value::TextList(_) => "a list of texts",
            Value::IntegerList(_) => "a list of whole numbers",
            Value::Tuples(_) => "a list of lists of numbers",
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
            Value::IntegerList(numbers) => write!(formatter, "{numbers:?}"),
            Value::Tuples(tuples) => write!(formatter, "{tuples:?}"),
        }
    }
}
