//! Rotary position embeddings as `config.json` describes them.
//!
//! Reference: `modeling_rope_utils.py` of transformers, whose names the fields keep.

use serde_json::{Map, Value};

use super::fields::{Fields, described, limit, positive};

/// The rotary embedding of a model: the base of its wavelengths, and how they are scaled for long sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeParameters {
    /// Base of the wavelengths.
    pub theta: f64,
    /// How they are scaled.
    pub scaling: RopeScaling,
}

/// How the frequencies of a rotary embedding are changed for sequences longer than those of the training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all (<https://arxiv.org/abs/2104.09864>).
    Unscaled,
    /// All frequencies divided by a factor (<https://arxiv.org/abs/2306.15595>).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// A base that grows with the sequence once that is longer than those of the training ("dynamic NTK").
    Dynamic {
        /// How fast it grows.
        factor: f64,
        /// The longest sequence of the training, in tokens: `max_position_embeddings`.
        original_max_position_embeddings: usize,
    },
    /// Low frequencies divided by a factor, high ones kept, a ramp between (<https://arxiv.org/abs/2309.00071>).
    Yarn {
        /// The factor.
        factor: f64,
        /// The longest sequence of the training, in tokens.
        original_max_position_embeddings: usize,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Turns over that length from which frequencies are kept.
        beta_fast: f64,
        /// Turns over that length up to which frequencies are divided.
        beta_slow: f64,
        /// Whether the ends of the ramp are rounded to whole pairs.
        truncate: bool,
    },
    /// A divisor for each frequency, one set for short and one for long sequences
    /// (<https://arxiv.org/abs/2402.13753>).
    LongRope {
        /// Divisors up to `original_max_position_embeddings` tokens: `(head_dim / 2)`.
        short_factor: Vec<f64>,
        /// Divisors above: `(head_dim / 2)`.
        long_factor: Vec<f64>,
        /// The longest sequence of the training, in tokens.
        original_max_position_embeddings: usize,
        /// Factor of cosines and sines.
        attention_factor: f64,
    },
    /// Long wavelengths stretched by a factor, short ones kept, a blend between, as in Llama 3.1.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above the training's length divided by this are stretched.
        low_freq_factor: f64,
        /// Wavelengths below the training's length divided by this are kept.
        high_freq_factor: f64,
        /// The longest sequence of the training, in tokens.
        original_max_position_embeddings: usize,
    },
}

const TYPES: &str = "one of `default`, `linear`, `dynamic`, `yarn`, `longrope`, `llama3`";

impl RopeParameters {
    /// Reads `rope_parameters`, or what older versions wrote: `rope_theta` at the top with `rope_scaling` beside
    /// it, in which `rope_type` was called `type`.
    pub(super) fn read(
        fields: &mut Fields<'_>,
        default_theta: f64,
        head_dim: usize,
        max_position_embeddings: usize,
    ) -> RopeParameters {
        let theta = fields.positive("rope_theta", default_theta);
        let is_given = |value: &&Value| value.as_object().is_none_or(|object| !object.is_empty());
        let field = match fields.get("rope_scaling").filter(is_given) {
            Some(_) => "rope_scaling",
            None => "rope_parameters",
        };
        let object = match fields.get(field) {
            None => return RopeParameters { theta, scaling: RopeScaling::Unscaled },
            Some(Value::Object(object)) => object,
            Some(other) => {
                fields.wrong(field, "an object", other);
                return RopeParameters { theta, scaling: RopeScaling::Unscaled };
            }
        };
        let mut parameters = Parameters { fields, field, object };
        let theta = parameters.positive("rope_theta").unwrap_or(theta);
        let scaling = parameters.scaling(head_dim, max_position_embeddings);
        RopeParameters { theta, scaling }
    }

    /// The longest sequence, in tokens: scalings that are set beside an unchanged `max_position_embeddings` stretch
    /// it, which is how vLLM reads them, too.
    pub fn context(&self, max_position_embeddings: usize) -> usize {
        let stretched = match self.scaling {
            RopeScaling::Linear { factor } | RopeScaling::Dynamic { factor, .. } => {
                factor * max_position_embeddings as f64
            }
            RopeScaling::Yarn { factor, original_max_position_embeddings, .. } => {
                factor * original_max_position_embeddings as f64
            }
            RopeScaling::Unscaled | RopeScaling::LongRope { .. } | RopeScaling::Llama3 { .. } => 0.0,
        };
        max_position_embeddings.max(stretched as usize).min(limit::TOKENS)
    }
}

/// The fields of `rope_parameters` or `rope_scaling`.
struct Parameters<'f, 'a> {
    fields: &'f mut Fields<'a>,
    field: &'static str,
    object: &'a Map<String, Value>,
}

impl<'a> Parameters<'_, 'a> {
    fn scaling(&mut self, head_dim: usize, max_position_embeddings: usize) -> RopeScaling {
        if let Some((layer_type, _)) = self.object.iter().find(|(_, value)| value.is_object()) {
            self.note(layer_type, "rotary embeddings that differ by layer are not supported".to_owned());
            return RopeScaling::Unscaled;
        }
        if self.number("partial_rotary_factor").is_some_and(|factor| factor != 1.0) {
            self.note(
                "partial_rotary_factor",
                "heads that are rotated in part only are not supported".to_owned(),
            );
        }
        let name = if self.object.contains_key("rope_type") { "rope_type" } else { "type" };
        match self.get(name) {
            None => RopeScaling::Unscaled,
            Some(Value::String(rope_type)) => match rope_type.as_str() {
                "default" => RopeScaling::Unscaled,
                "linear" => RopeScaling::Linear { factor: self.required("factor") },
                "dynamic" => self.dynamic(head_dim, max_position_embeddings),
                "yarn" => self.yarn(max_position_embeddings),
                "longrope" => self.longrope(head_dim, max_position_embeddings),
                "llama3" => self.llama3(max_position_embeddings),
                _ => self.unknown(name),
            },
            Some(_) => self.unknown(name),
        }
    }

    fn unknown(&mut self, name: &str) -> RopeScaling {
        let found = described(&self.object[name]);
        self.note(name, format!("`{}.{name}` must be {TYPES}, but is {found}", self.field));
        RopeScaling::Unscaled
    }

    fn dynamic(&mut self, head_dim: usize, max_position_embeddings: usize) -> RopeScaling {
        if head_dim == 2 && self.fields.sound() {
            let message = "`dynamic` rotary embeddings need heads of more than 2 numbers";
            self.note("rope_type", message.to_owned());
        }
        RopeScaling::Dynamic {
            factor: self.required("factor"),
            original_max_position_embeddings: max_position_embeddings,
        }
    }

    fn yarn(&mut self, max_position_embeddings: usize) -> RopeScaling {
        let original = self.original(max_position_embeddings);
        // The paper's temperature (section 3.4), or DeepSeek's quotient of two.
        let temperature = |factor: f64, mscale: f64| match factor > 1.0 {
            true => 0.1 * mscale * factor.ln() + 1.0,
            false => 1.0,
        };
        // As in transformers: it must be there, and `null` is the quotient of the lengths.
        if !self.object.contains_key("factor") {
            self.missing("factor");
        }
        let factor = self.positive("factor").unwrap_or(max_position_embeddings as f64 / original as f64);
        let mscales = (self.nonzero("mscale"), self.nonzero("mscale_all_dim"));
        RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            attention_factor: self.positive("attention_factor").unwrap_or_else(|| match mscales {
                (Some(mscale), Some(all)) => temperature(factor, mscale) / temperature(factor, all),
                _ => temperature(factor, 1.0),
            }),
            beta_fast: self.nonzero("beta_fast").unwrap_or(32.0),
            beta_slow: self.nonzero("beta_slow").unwrap_or(1.0),
            truncate: self.boolean("truncate", true),
        }
    }

    fn longrope(&mut self, head_dim: usize, max_position_embeddings: usize) -> RopeScaling {
        let original = self.original(max_position_embeddings);
        let factor = self.positive("factor").unwrap_or(max_position_embeddings as f64 / original as f64);
        let given = self.positive("attention_factor");
        if given.is_none() && factor > 1.0 && original < 2 {
            self.note(
                "original_max_position_embeddings",
                format!(
                    "`{}.original_max_position_embeddings` must be at least 2 for `longrope`",
                    self.field
                ),
            );
        }
        RopeScaling::LongRope {
            short_factor: self.divisors("short_factor", head_dim / 2),
            long_factor: self.divisors("long_factor", head_dim / 2),
            original_max_position_embeddings: original,
            attention_factor: given.unwrap_or_else(|| match factor > 1.0 {
                true => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
                false => 1.0,
            }),
        }
    }

    fn llama3(&mut self, max_position_embeddings: usize) -> RopeScaling {
        let (low, high) = (self.required("low_freq_factor"), self.required("high_freq_factor"));
        if self.fields.sound() && high <= low {
            self.note(
                "high_freq_factor",
                format!(
                    "`{}.high_freq_factor` is {high}, but must be above `low_freq_factor` {low}",
                    self.field
                ),
            );
        }
        RopeScaling::Llama3 {
            factor: self.required("factor"),
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: self.original(max_position_embeddings),
        }
    }

    /// The length of the training: at the top of the file, which comes first, or here, or the context.
    fn original(&mut self, max_position_embeddings: usize) -> usize {
        const NAME: &str = "original_max_position_embeddings";
        if let Some(length) = self.fields.optional_size(NAME, limit::TOKENS) {
            return length;
        }
        let Some(value) = self.get(NAME) else { return max_position_embeddings };
        match value.as_u64() {
            Some(length) if (1..=limit::TOKENS as u64).contains(&length) => length as usize,
            _ => {
                self.wrong(NAME, &format!("a whole number from 1 to {}", limit::TOKENS));
                max_position_embeddings
            }
        }
    }

    /// A divisor for each frequency.
    fn divisors(&mut self, name: &str, count: usize) -> Vec<f64> {
        let Some(value) = self.get(name) else {
            self.missing(name);
            return Vec::new();
        };
        let numbers: Option<Vec<f64>> =
            value.as_array().and_then(|list| list.iter().map(positive).collect::<Option<_>>());
        match numbers {
            Some(numbers) if numbers.len() == count || !self.fields.sound() => numbers,
            Some(numbers) => {
                let (field, found) = (self.field, numbers.len());
                let message =
                    format!("`{field}.{name}` has {found} numbers, expected {count}: half of `head_dim`");
                self.note(name, message);
                numbers
            }
            None => {
                self.wrong(name, "a list of numbers above 0");
                Vec::new()
            }
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A finite number above 0 that must be there.
    fn required(&mut self, name: &str) -> f64 {
        if self.get(name).is_none() {
            self.missing(name);
        }
        self.positive(name).unwrap_or(1.0)
    }

    /// A finite number above 0, if it is given.
    fn positive(&mut self, name: &str) -> Option<f64> {
        let number = positive(self.get(name)?);
        if number.is_none() {
            self.wrong(name, "a number above 0");
        }
        number
    }

    /// A finite number, if it is given.
    fn number(&mut self, name: &str) -> Option<f64> {
        let number = self.get(name)?.as_f64();
        if number.is_none() {
            self.wrong(name, "a number");
        }
        number
    }

    /// A finite number above 0; 0 counts as not given, as in transformers.
    fn nonzero(&mut self, name: &str) -> Option<f64> {
        if self.get(name)?.as_f64() == Some(0.0) { None } else { self.positive(name) }
    }

    fn boolean(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.get(name) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(name, "`true` or `false`");
            default
        })
    }

    fn missing(&mut self, name: &str) {
        self.note(name, format!("`{}.{name}` is missing", self.field));
    }

    fn wrong(&mut self, name: &str, expected: &str) {
        let found = described(&self.object[name]);
        self.note(name, format!("`{}.{name}` must be {expected}, but is {found}", self.field));
    }

    fn note(&mut self, name: &str, message: String) {
        self.fields.note(&format!("{}.{name}", self.field), message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reads the fields for heads of 8 numbers and a context of 64 tokens.
    fn read(json: Value) -> Result<RopeParameters, Vec<String>> {
        let Value::Object(config) = json else { panic!("fields are an object") };
        let mut fields = Fields::new(&config);
        let rope = RopeParameters::read(&mut fields, 1e6, 8, 64);
        fields.finish(rope).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_base_is_read_in_both_forms() {
        for (json, theta) in [
            (json!({}), 1e6),
            (json!({"rope_theta": 5000}), 5e3),
            (json!({"rope_theta": 5000, "rope_scaling": null}), 5e3),
            (json!({"rope_parameters": {"rope_theta": 7e3, "rope_type": "default"}}), 7e3),
            (json!({"rope_parameters": {"rope_theta": 7e3}, "rope_scaling": {}}), 7e3),
            (json!({"rope_theta": 5000, "rope_parameters": {"rope_theta": 7e3}}), 7e3),
            (json!({"rope_theta": 5000, "rope_parameters": {"rope_type": "default"}}), 5e3),
            (json!({"rope_theta": 5000, "rope_scaling": {"type": "default"}}), 5e3),
        ] {
            assert_eq!(
                read(json.clone()).unwrap(),
                RopeParameters { theta, scaling: RopeScaling::Unscaled },
                "{json}"
            );
        }
    }

    #[test]
    fn scalings_are_read_in_both_forms() {
        let linear = RopeParameters { theta: 5e3, scaling: RopeScaling::Linear { factor: 4.0 } };
        for json in [
            json!({"rope_theta": 5e3, "rope_scaling": {"type": "linear", "factor": 4}}),
            json!({"rope_theta": 5e3, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
            json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e3}}),
        ] {
            assert_eq!(read(json).unwrap(), linear);
        }
        assert_eq!(linear.context(64), 256);
    }

    #[test]
    fn what_yarn_does_not_give_is_as_in_transformers() {
        let yarn = |json: Value| match read(json!({"rope_scaling": json})).unwrap().scaling {
            RopeScaling::Yarn { factor, original_max_position_embeddings, attention_factor, .. } => {
                (factor, original_max_position_embeddings, attention_factor)
            }
            other => panic!("{other:?}"),
        };
        let temperature = |factor: f64| 0.1 * factor.ln() + 1.0;
        assert_eq!(yarn(json!({"type": "yarn", "factor": 4.0})), (4.0, 64, temperature(4.0)));
        let original = json!({"type": "yarn", "factor": null, "original_max_position_embeddings": 16});
        assert_eq!(yarn(original), (4.0, 16, temperature(4.0)));
        let given = json!({"type": "yarn", "factor": 4.0, "attention_factor": 0.5, "beta_fast": 0});
        assert_eq!(yarn(given), (4.0, 64, 0.5));
        let quotient = json!({"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.3});
        let expected = (0.07 * 4f64.ln() + 1.0) / (0.03 * 4f64.ln() + 1.0);
        assert!((yarn(quotient).2 - expected).abs() < 1e-12);
    }

    #[test]
    fn the_length_of_the_training_may_stand_at_the_top() {
        let json = json!({
            "original_max_position_embeddings": 16,
            "rope_scaling": {
                "rope_type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 3, 4.5],
                "original_max_position_embeddings": 32,
            },
        });
        let rope = read(json).unwrap();
        let expected = RopeScaling::LongRope {
            short_factor: vec![1.0; 4],
            long_factor: vec![1.0, 2.0, 3.0, 4.5],
            original_max_position_embeddings: 16,
            attention_factor: (1.0 + 4f64.ln() / 16f64.ln()).sqrt(),
        };
        assert_eq!((rope.context(64), rope.scaling), (64, expected));
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (json, expected) in [
            (
                json!({"rope_type": "ntk", "factor": 2}),
                "`rope_scaling.rope_type` must be one of `default`, `linear`, `dynamic`, `yarn`, `longrope`, `llama3`, \
                 but is `ntk` (config.json: rope_scaling.rope_type)",
            ),
            (json!({"type": 3}), "`rope_scaling.type` must be one of "),
            (
                json!({"type": "linear"}),
                "`rope_scaling.factor` is missing (config.json: rope_scaling.factor)",
            ),
            (
                json!({"type": "linear", "factor": 0}),
                "`rope_scaling.factor` must be a number above 0, but is 0",
            ),
            (
                json!({"type": "dynamic", "factor": "2"}),
                "`rope_scaling.factor` must be a number above 0, but is `2`",
            ),
            (
                json!({"type": "yarn", "factor": 2, "beta_fast": "x"}),
                "`rope_scaling.beta_fast` must be a number above 0, but is `x`",
            ),
            (
                json!({"type": "yarn", "factor": 2, "truncate": 1}),
                "`rope_scaling.truncate` must be `true` or `false`, but is 1",
            ),
            (
                json!({"type": "yarn", "factor": 2, "original_max_position_embeddings": -1}),
                "`rope_scaling.original_max_position_embeddings` must be a whole number from 1 to ",
            ),
            (
                json!({"type": "longrope", "short_factor": [1, 1], "long_factor": [1, 1, 1, 1]}),
                "`rope_scaling.short_factor` has 2 numbers, expected 4: half of `head_dim`",
            ),
            (
                json!({"type": "longrope", "short_factor": [1, 1, 1, 0], "long_factor": [1, 1, 1, 1]}),
                "`rope_scaling.short_factor` must be a list of numbers above 0, but is a list",
            ),
            (
                json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}),
                "`rope_scaling.high_freq_factor` is 4, but must be above `low_freq_factor` 4",
            ),
            (
                json!({"full_attention": {"rope_theta": 1e4}}),
                "rotary embeddings that differ by layer are not supported (config.json: rope_scaling.full_attention)",
            ),
            (
                json!({"rope_type": "default", "partial_rotary_factor": 0.5}),
                "heads that are rotated in part only are not supported",
            ),
        ] {
            let problems = read(json!({"rope_scaling": json})).unwrap_err();
            assert!(
                problems.len() == 1 && problems[0].starts_with(expected),
                "{problems:?}, expected {expected}"
            );
        }
        assert_eq!(
            read(json!({"rope_parameters": "yarn"})).unwrap_err(),
            ["`rope_parameters` must be an object, but is `yarn` (config.json: rope_parameters)"]
        );
    }
}
