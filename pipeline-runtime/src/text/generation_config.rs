//! The generation settings that come with a checkpoint.

use std::path::Path;

use pipeline_schema::ParameterKind;
use pipeline_schema::arch::TEXT;
use serde_json::{Map, Value};

use super::files::{describe, read_object_if_present};
use crate::error::{Error, Result};

/// Checkpoints have configurations of a few kilobytes; some list every label of a data set.
const FILE_LIMIT: u64 = 16 << 20;

/// What `generation_config.json` says of a checkpoint. A setting that it does not give, or gives as `null`, is `None`.
///
/// ```
/// use pipeline_runtime::text::GenerationConfig;
///
/// let directory = tempfile::tempdir()?;
/// std::fs::write(
///     directory.path().join("generation_config.json"),
///     r#"{"temperature": 0.6, "eos_token_id": [128001, 128009]}"#,
/// )?;
/// let config = GenerationConfig::from_directory(directory.path())?;
/// assert_eq!(config.temperature, Some(0.6));
/// assert_eq!(config.eos_token_ids, [128001, 128009]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens to generate at most.
    pub max_new_tokens: Option<usize>,
    /// Tokens of prompt and generated text together at most.
    pub max_length: Option<usize>,
    /// See [`SamplingParameters`](super::SamplingParameters), as for the following five.
    pub temperature: Option<f32>,
    /// The share of probability that tokens are drawn from.
    pub top_p: Option<f32>,
    /// The number of tokens that are drawn from.
    pub top_k: Option<usize>,
    /// The least probability, as a share of the likeliest token's.
    pub min_p: Option<f32>,
    /// The penalty of tokens seen before.
    pub repetition_penalty: Option<f32>,
    /// Whether tokens are drawn.
    pub do_sample: Option<bool>,
    /// The tokens that end a text; empty where the checkpoint names none.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills up shorter sequences of a batch.
    pub pad_token_id: Option<u32>,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
}

impl GenerationConfig {
    /// Reads `generation_config.json` of a checkpoint's directory. The tokens that begin and end a text are taken from
    /// `config.json` where the former does not name them. Neither file has to be there; unknown settings are ignored.
    ///
    /// # Errors
    /// A setting of another type, or out of its parameter's range: the error names file and field.
    pub fn from_directory(directory: &Path) -> Result<GenerationConfig> {
        let generation_path = directory.join("generation_config.json");
        let generation = read_object_if_present(&generation_path, FILE_LIMIT)?.unwrap_or_default();
        let fields = Fields { path: &generation_path, object: &generation };
        let mut config = GenerationConfig {
            max_new_tokens: fields.count("max_new_tokens")?,
            max_length: fields.count("max_length")?,
            temperature: fields.number("temperature")?,
            top_p: fields.number("top_p")?,
            top_k: fields.count("top_k")?,
            min_p: fields.number("min_p")?,
            repetition_penalty: fields.number("repetition_penalty")?,
            do_sample: fields.boolean("do_sample")?,
            eos_token_ids: fields.tokens("eos_token_id")?,
            pad_token_id: fields.token("pad_token_id")?,
            bos_token_id: fields.token("bos_token_id")?,
        };
        if config.eos_token_ids.is_empty() || config.bos_token_id.is_none() {
            let model_path = directory.join("config.json");
            let model = read_object_if_present(&model_path, FILE_LIMIT)?.unwrap_or_default();
            let fields = Fields { path: &model_path, object: &model };
            if config.eos_token_ids.is_empty() {
                config.eos_token_ids = fields.tokens("eos_token_id")?;
            }
            if config.bos_token_id.is_none() {
                config.bos_token_id = fields.token("bos_token_id")?;
            }
        }
        Ok(config)
    }
}

/// A JSON object of a file, for reading fields that may be absent.
struct Fields<'a> {
    path: &'a Path,
    object: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn wrong_type<T>(&self, name: &str, expected: &str, found: &Value) -> Result<T> {
        let message = format!("`{name}` must be {expected}, but is {}", describe(found));
        Err(Error::malformed(self.path, message))
    }

    /// Checks against the range of the parameter of this name, where there is one.
    fn check(&self, name: &str, value: &pipeline_schema::Value) -> Result<()> {
        let kind = match TEXT.parameter(name) {
            Some(specification) => specification.kind,
            None => ParameterKind::Integer { min: 1, max: u64::MAX },
        };
        kind.check(name, value).map_err(|message| Error::malformed(self.path, message))
    }

    fn count(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match (value.as_u64(), value.as_i64()) {
            (Some(number), _) => i128::from(number),
            (None, Some(number)) => i128::from(number),
            (None, None) => return self.wrong_type(name, "a whole number", value),
        };
        self.check(name, &pipeline_schema::Value::Integer(number))?;
        // What does not fit into the machine's own size is as good as no limit.
        Ok(Some(usize::try_from(number).unwrap_or(usize::MAX)))
    }

    fn number(&self, name: &str) -> Result<Option<f32>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Some(number) = value.as_f64() else { return self.wrong_type(name, "a number", value) };
        self.check(name, &pipeline_schema::Value::Float(number))?;
        Ok(Some(number as f32))
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_bool() {
            Some(value) => Ok(Some(value)),
            None => self.wrong_type(name, "`true` or `false`", value),
        }
    }

    fn token(&self, name: &str) -> Result<Option<u32>> {
        self.get(name).map(|value| self.as_token(name, value)).transpose()
    }

    /// One token or a list of them.
    fn tokens(&self, name: &str) -> Result<Vec<u32>> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(|value| self.as_token(name, value)).collect(),
            Some(value) => Ok(vec![self.as_token(name, value)?]),
        }
    }

    fn as_token(&self, name: &str, value: &Value) -> Result<u32> {
        if !(value.is_u64() || value.is_i64()) {
            return self.wrong_type(name, "a token's number", value);
        }
        value.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
            Error::malformed(
                self.path,
                format!("`{name}` is {value}, but a token's number is from 0 to {}", u32::MAX),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(generation: Option<&str>, model: Option<&str>) -> Result<GenerationConfig> {
        let directory = tempfile::tempdir().unwrap();
        if let Some(text) = generation {
            std::fs::write(directory.path().join("generation_config.json"), text).unwrap();
        }
        if let Some(text) = model {
            std::fs::write(directory.path().join("config.json"), text).unwrap();
        }
        GenerationConfig::from_directory(directory.path())
    }

    fn error(generation: &str) -> String {
        read(Some(generation), None).unwrap_err().to_string()
    }

    #[test]
    fn every_field_is_read() {
        let config = read(
            Some(
                r#"{"_from_model_config": true, "max_new_tokens": 256, "max_length": 4096, "temperature": 1,
                    "top_p": 0.95, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "do_sample": true,
                    "eos_token_id": 2, "pad_token_id": null, "bos_token_id": 1, "transformers_version": "5.17.0"}"#,
            ),
            Some(r#"{"eos_token_id": 7, "bos_token_id": 8}"#),
        )
        .unwrap();
        assert_eq!(
            config,
            GenerationConfig {
                max_new_tokens: Some(256),
                max_length: Some(4096),
                temperature: Some(1.0),
                top_p: Some(0.95),
                top_k: Some(40),
                min_p: Some(0.05),
                repetition_penalty: Some(1.1),
                do_sample: Some(true),
                eos_token_ids: vec![2],
                pad_token_id: None,
                bos_token_id: Some(1),
            }
        );
    }

    #[test]
    fn the_model_configuration_fills_in() {
        assert_eq!(read(None, None).unwrap(), GenerationConfig::default());
        let config =
            read(Some("{}"), Some(r#"{"eos_token_id": [2, 3], "bos_token_id": 1, "top_p": 5}"#)).unwrap();
        assert_eq!(config.eos_token_ids, [2, 3]);
        assert_eq!(config.bos_token_id, Some(1));
        assert_eq!(config.top_p, None);
        let error = read(None, Some(r#"{"eos_token_id": "</s>"}"#)).unwrap_err().to_string();
        assert!(
            error.ends_with("config.json: `eos_token_id` must be a token's number, but is a text"),
            "{error}"
        );
    }

    #[test]
    fn errors_name_file_and_field() {
        let cases = [
            (r#"{"top_k": 2.5}"#, "`top_k` must be a whole number, but is a number with a fraction"),
            (r#"{"top_k": -1}"#, "`top_k` is -1, but must be at least 0"),
            (r#"{"max_new_tokens": 0}"#, "`max_new_tokens` is 0, but must be at least 1"),
            (r#"{"max_length": 0}"#, "`max_length` is 0, but must be at least 1"),
            (r#"{"temperature": "hot"}"#, "`temperature` must be a number, but is a text"),
            (r#"{"temperature": -0.5}"#, "`temperature` is -0.5, but must be from 0 to 100"),
            (r#"{"top_p": 1.01}"#, "`top_p` is 1.01, but must be from 0 to 1"),
            (r#"{"repetition_penalty": 0}"#, "`repetition_penalty` is 0, but must be from 0.01 to 100"),
            (r#"{"do_sample": 1}"#, "`do_sample` must be `true` or `false`, but is a whole number"),
            (r#"{"eos_token_id": [2, null]}"#, "`eos_token_id` must be a token's number, but is null"),
            (r#"{"pad_token_id": -1}"#, "`pad_token_id` is -1, but a token's number is from 0 to 4294967295"),
            (
                r#"{"bos_token_id": 4294967296}"#,
                "`bos_token_id` is 4294967296, but a token's number is from 0",
            ),
            ("[]", "expected a JSON object, found a list"),
            ("{", "not JSON"),
        ];
        for (text, expected) in cases {
            let error = error(text);
            assert!(error.contains(&format!("generation_config.json: {expected}")), "{text}: {error}");
        }
    }
}
