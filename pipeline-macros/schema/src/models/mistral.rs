//! Mistral: a Llama whose tokens may see a window only.
//!
//! Paper: <https://arxiv.org/abs/2310.06825>. Reference: `MistralConfig`.

use serde_json::{Map, Value};

use super::decoder::{Config, Defaults};
use super::fields::{Fields, limit};
use crate::problem::Problem;

/// Reads the `config.json` of a `mistral`: the window is 4096 tokens where it is absent, and none where it is `null`.
pub(super) fn from_json(config: &Map<String, Value>) -> Result<Config, Vec<Problem>> {
    let mut fields = Fields::new(config);
    let common = Config::read(
        &mut fields,
        &Defaults {
            model_type: "mistral",
            num_key_value_heads: Some(8),
            head_dim: None,
            max_position_embeddings: 4096 * 32,
        },
    );
    let window = match fields.is_absent("sliding_window") {
        true => Some(4096),
        false => fields.optional_size("sliding_window", limit::TOKENS),
    };
    let windows = vec![window; common.num_hidden_layers];
    fields.finish(Config { windows, ..common })
}
