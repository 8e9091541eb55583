//! Qwen2 and Qwen2.5: a Llama with biases before the attention, whose later layers may see a window only.
//!
//! Paper: <https://arxiv.org/abs/2407.10671>. Reference: `Qwen2Config`.

use serde_json::{Map, Value};

use super::decoder::{Config, Defaults};
use super::described;
use super::fields::{Fields, limit};
use crate::problem::Problem;

/// Reads the `config.json` of a `qwen2`.
pub(super) fn from_json(config: &Map<String, Value>) -> Result<Config, Vec<Problem>> {
    let mut fields = Fields::new(config);
    let common = Config::read(
        &mut fields,
        &Defaults {
            model_type: "qwen2",
            num_key_value_heads: Some(32),
            head_dim: None,
            max_position_embeddings: 32768,
        },
    );
    let windows = windows(&mut fields, common.num_hidden_layers);
    fields.finish(Config { qkv_bias: true, windows, ..common })
}

/// The window of each layer: by `layer_types`, or else of the layers from `max_window_layers` on, and of none unless
/// `use_sliding_window` says so.
pub(super) fn windows(fields: &mut Fields<'_>, layers: usize) -> Vec<Option<usize>> {
    let window = match fields.boolean("use_sliding_window", false) {
        true if fields.is_absent("sliding_window") => Some(4096),
        true => fields.optional_size("sliding_window", limit::TOKENS),
        false => None,
    };
    let first = fields.count("max_window_layers", limit::LAYERS).unwrap_or(28);
    let types = match fields.get("layer_types") {
        None => return (0..layers).map(|layer| window.filter(|_| layer >= first)).collect(),
        Some(Value::Array(types)) => types,
        Some(other) => {
            fields.wrong("layer_types", "a list of texts", other);
            return vec![None; layers];
        }
    };
    if types.len() != layers && fields.sound() {
        let message = format!("`layer_types` has {} entries for {layers} layers", types.len());
        fields.note("layer_types", message);
    }
    let mut windows = vec![None; layers];
    for (layer, layer_type) in windows.iter_mut().zip(types) {
        match layer_type.as_str() {
            Some("full_attention") => {}
            Some("sliding_attention") if window.is_some() => *layer = window,
            Some("sliding_attention") => {
                let message = "`layer_types` has `sliding_attention`, but there is no `sliding_window` or \
                               `use_sliding_window` is not `true`";
                fields.note("layer_types", message.to_owned());
                break;
            }
            _ => {
                let found = described(layer_type);
                let message =
                    format!("`layer_types` has {found}, expected `full_attention` or `sliding_attention`");
                fields.note("layer_types", message);
                break;
            }
        }
    }
    windows
}
