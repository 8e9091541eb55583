//! Qwen3: a Llama whose heads of queries and keys are normed, and have a size of their own.
//!
//! Paper: <https://arxiv.org/abs/2505.09388>. Reference: `Qwen3Config`.

use serde_json::{Map, Value};

use super::decoder::{Config, Defaults};
use super::fields::Fields;
use super::qwen2::windows;
use crate::problem::Problem;

/// Reads the `config.json` of a `qwen3`: windows are as in Qwen2, `attention_bias` is about all four maps.
pub(super) fn from_json(config: &Map<String, Value>) -> Result<Config, Vec<Problem>> {
    let mut fields = Fields::new(config);
    let common = Config::read(
        &mut fields,
        &Defaults {
            model_type: "qwen3",
            num_key_value_heads: Some(32),
            head_dim: Some(128),
            max_position_embeddings: 32768,
        },
    );
    let windows = windows(&mut fields, common.num_hidden_layers);
    let attention_bias = fields.boolean("attention_bias", false);
    fields.finish(Config {
        qkv_bias: attention_bias,
        o_bias: attention_bias,
        qk_norm: true,
        windows,
        ..common
    })
}
