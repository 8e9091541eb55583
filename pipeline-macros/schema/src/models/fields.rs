//! Reading the fields of a `config.json`, collecting all that is wrong with them.

use serde_json::{Map, Value};

use crate::problem::{Problem, Subject, quoted};

/// Limits of the sizes: well above every model there is, and low enough for products of them.
pub(super) mod limit {
    pub(in super::super) const VOCABULARY: usize = 1 << 24;
    pub(in super::super) const HIDDEN: usize = 1 << 18;
    pub(in super::super) const INTERMEDIATE: usize = 1 << 20;
    pub(in super::super) const LAYERS: usize = 1 << 10;
    pub(in super::super) const HEADS: usize = 1 << 12;
    pub(in super::super) const HEAD_DIM: usize = 1 << 14;
    pub(in super::super) const EXPERTS: usize = 1 << 12;
    pub(in super::super) const TOKENS: usize = 1 << 30;
}

/// The fields of a configuration, and what was wrong with those read so far.
///
/// Each reader returns something harmless where the field is wrong; [`finish`](Fields::finish) then fails.
pub(super) struct Fields<'a> {
    config: &'a Map<String, Value>,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(config: &'a Map<String, Value>) -> Fields<'a> {
        Fields { config, problems: Vec::new() }
    }

    /// The field, unless it is absent or `null`.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.config.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is absent, which `null` is not.
    pub(super) fn is_absent(&self, field: &str) -> bool {
        !self.config.contains_key(field)
    }

    /// Whether nothing was wrong so far: what follows from a size that is wrong need not be told as well.
    pub(super) fn sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// A count from 1 to `max` that must be there.
    pub(super) fn size(&mut self, field: &str, max: usize) -> usize {
        self.optional_size(field, max).unwrap_or_else(|| {
            if self.get(field).is_none() {
                self.missing(field);
            }
            1
        })
    }

    /// A count from 1 to `max`, or `None` where it is absent or `null`.
    pub(super) fn optional_size(&mut self, field: &str, max: usize) -> Option<usize> {
        self.within(field, 1, max)
    }

    /// A count from 0 to `max`, or `None` where it is absent or `null`.
    pub(super) fn count(&mut self, field: &str, max: usize) -> Option<usize> {
        self.within(field, 0, max)
    }

    fn within(&mut self, field: &str, min: usize, max: usize) -> Option<usize> {
        let value = self.get(field)?;
        match value.as_u64() {
            Some(number) if (min as u64..=max as u64).contains(&number) => Some(number as usize),
            _ => {
                self.wrong(field, &format!("a whole number from {min} to {max}"), value);
                None
            }
        }
    }

    /// A finite number above 0, or `default` where it is absent or `null`.
    pub(super) fn positive(&mut self, field: &str, default: f64) -> f64 {
        let Some(value) = self.get(field) else { return default };
        positive(value).unwrap_or_else(|| {
            self.wrong(field, "a number above 0", value);
            default
        })
    }

    /// A truth value, or `default` where it is absent or `null`.
    pub(super) fn boolean(&mut self, field: &str, default: bool) -> bool {
        let Some(value) = self.get(field) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(field, "`true` or `false`", value);
            default
        })
    }

    /// A text that must be `only`, which it is where it is absent or `null`.
    pub(super) fn only(&mut self, field: &str, only: &str) {
        if let Some(value) = self.get(field).filter(|value| value.as_str() != Some(only)) {
            self.wrong(field, &format!("`{only}`"), value);
        }
    }

    /// Weights are stored as they are computed with.
    pub(super) fn not_quantized(&mut self) {
        if self.get("quantization_config").is_some() {
            let message = "quantised weights are not supported; use the checkpoint in `bf16`, `f16` or `f32`";
            self.note("quantization_config", message.to_owned());
        }
    }

    /// Notes that `field` is missing.
    pub(super) fn missing(&mut self, field: &str) {
        let problem = Problem::new(Subject::Model, format!("`{field}` is missing"));
        self.problems.push(problem.found_in(format!("config.json: {field}")));
    }

    /// Notes that `field` must be `expected`, and is `found`.
    pub(super) fn wrong(&mut self, field: &str, expected: &str, found: &Value) {
        let message = format!("`{field}` must be {expected}, but is {}", described(found));
        self.note(field, message);
    }

    /// Notes that something is wrong with `field`.
    pub(super) fn note(&mut self, field: &str, message: String) {
        self.problems.push(Problem::new(Subject::Model, message).found_in(format!("config.json: {field}")));
    }

    /// `value`, where nothing was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() { Ok(value) } else { Err(self.problems) }
    }
}

/// The value as a finite number above 0.
pub(super) fn positive(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite() && *number > 0.0)
}

/// A value as an error shows it: itself when it is short, its kind otherwise.
pub(crate) fn described(value: &Value) -> String {
    match value {
        Value::Null => "`null`".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
