//! Llama 1 to 3, and the many models made like it.
//!
//! Papers: <https://arxiv.org/abs/2302.13971>, <https://arxiv.org/abs/2407.21783>. Reference: `LlamaConfig`.

use serde_json::{Map, Value};

use super::decoder::{Config, Defaults};
use super::fields::Fields;
use crate::problem::Problem;

/// Reads the `config.json` of a `llama`: `attention_bias` is about all four maps of the attention.
pub(super) fn from_json(config: &Map<String, Value>) -> Result<Config, Vec<Problem>> {
    let mut fields = Fields::new(config);
    let common = Config::read(
        &mut fields,
        &Defaults {
            model_type: "llama",
            num_key_value_heads: None,
            head_dim: None,
            max_position_embeddings: 2048,
        },
    );
    let attention_bias = fields.boolean("attention_bias", false);
    let mlp_bias = fields.boolean("mlp_bias", false);
    fields.finish(Config { qkv_bias: attention_bias, o_bias: attention_bias, mlp_bias, ..common })
}
