//! What is adjustable in generated text, and what follows from it for a call.

use pipeline_schema::Value;

use crate::arch::generation::{GenerationPlan, TokenSequences};
use crate::error::Result;
use crate::stage::Parameters;
use crate::text::{GenerationConfig, SamplingParameters, StopStrings, as_written};

/// What is adjustable wherever text is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationParameters {
    /// Tokens to generate at most.
    pub max_new_tokens: usize,
    /// Flattens (above 1) or sharpens (below 1) the distribution of the next token; 0 is greedy.
    pub temperature: f32,
    /// Samples from the likeliest tokens whose probabilities sum to this; 1 is off.
    pub top_p: f32,
    /// Samples from this many likeliest tokens; 0 is off.
    pub top_k: usize,
    /// Drops tokens less likely than this share of the likeliest token's probability; 0 is off.
    pub min_p: f32,
    /// Divides the logits of tokens seen before; 1 is off.
    pub repetition_penalty: f32,
    /// Draws the next token; `false` takes the likeliest.
    pub do_sample: bool,
    /// Texts that end the generation and are not part of the result.
    pub stop: Vec<String>,
    /// Reproduces a run; `None` draws one, which the output reports.
    pub seed: Option<u64>,
}

impl GenerationParameters {
    /// What the checkpoint says, or else the defaults.
    pub fn new(checkpoint: &GenerationConfig) -> GenerationParameters {
        GenerationParameters {
            max_new_tokens: checkpoint.max_new_tokens.unwrap_or(128),
            temperature: checkpoint.temperature.unwrap_or(0.7),
            top_p: checkpoint.top_p.unwrap_or(0.9),
            top_k: checkpoint.top_k.unwrap_or(50),
            min_p: checkpoint.min_p.unwrap_or(0.0),
            repetition_penalty: checkpoint.repetition_penalty.unwrap_or(1.0),
            do_sample: checkpoint.do_sample.unwrap_or(true),
            stop: Vec::new(),
            seed: None,
        }
    }

    /// The plan for prompts in a model that reads at most `context` tokens and ends texts with `end_tokens`.
    ///
    /// # Errors
    /// A stop text cannot be one.
    pub fn plan<P>(
        &self,
        prepared: &TokenSequences,
        routing: P,
        context: usize,
        end_tokens: &[u32],
    ) -> Result<GenerationPlan<P>> {
        // A stop text that cannot be is refused before the model runs.
        StopStrings::new(&self.stop)?;
        // The last token that is generated is not read.
        let room = |tokens: &Vec<u32>| (context + 1).saturating_sub(tokens.len()).min(self.max_new_tokens);
        Ok(GenerationPlan {
            routing,
            sampling: SamplingParameters {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                do_sample: self.do_sample,
            },
            seed: self.seed.unwrap_or_else(rand::random),
            max_new_tokens: prepared.sequences.iter().map(room).collect(),
            stop: self.stop.clone(),
            end_tokens: end_tokens.to_vec(),
        })
    }
}

impl Parameters for GenerationParameters {
    fn values(&self) -> Vec<(&'static str, Value)> {
        let integer = |number: usize| Value::Integer(number as i128);
        let float = |number: f32| Value::Float(as_written(number));
        let mut values = vec![
            ("max_new_tokens", integer(self.max_new_tokens)),
            ("temperature", float(self.temperature)),
            ("top_p", float(self.top_p)),
            ("top_k", integer(self.top_k)),
            ("min_p", float(self.min_p)),
            ("repetition_penalty", float(self.repetition_penalty)),
            ("do_sample", Value::Boolean(self.do_sample)),
            ("stop", Value::TextList(self.stop.clone())),
        ];
        values.extend(self.seed.map(|seed| ("seed", Value::Integer(seed.into()))));
        values
    }
}
