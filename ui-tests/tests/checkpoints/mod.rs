//! Checkpoints of a Mixtral and of dense decoders with a few dozen numbers: one of each is right, each other breaks one
//! rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Tensors by name, each with its shape.
type Shapes = BTreeMap<String, Vec<usize>>;

const EXPERTS: usize = 4;
const HIDDEN: usize = 8;
const VOCABULARY: usize = 16;

/// Writes the checkpoints to `crate_directory/checkpoints`, and one where people look for it by mistake.
pub(super) fn write(crate_directory: &Path) {
    let root = crate_directory.join("checkpoints");
    let place = |name: &str| root.join(name);
    checkpoint(&place("tiny"), config(), shapes());
    checkpoint(&crate_directory.join("../checkpoints/above"), config(), shapes());

    let mut unknown_type = config();
    unknown_type["model_type"] = json!("mixtrall");
    checkpoint(&place("unknown-type"), unknown_type, shapes());

    let mut five_of_four = config();
    five_of_four["num_experts_per_tok"] = json!(5);
    checkpoint(&place("five-of-four"), five_of_four, shapes());

    let mut three_heads = config();
    three_heads["num_attention_heads"] = json!(3);
    checkpoint(&place("three-heads"), three_heads, shapes());

    let mut three_key_value_heads = config();
    three_key_value_heads["num_attention_heads"] = json!(4);
    three_key_value_heads["num_key_value_heads"] = json!(3);
    checkpoint(&place("three-key-value-heads"), three_key_value_heads, shapes());

    let mut odd_heads = config();
    odd_heads["head_dim"] = json!(3);
    checkpoint(&place("odd-heads"), odd_heads, shapes());

    let norm = |name: &str| if name == "model.norm.weight" { "I16" } else { "BF16" };
    checkpoint_of(&place("integers"), config(), shapes(), norm);

    let mut headless = config();
    headless["architectures"] = json!(["MixtralModel"]);
    let without_prefix = |(name, shape): (String, Vec<usize>)| {
        name.strip_prefix("model.").map(|name| (name.to_owned(), shape))
    };
    checkpoint(&place("headless"), headless, shapes().into_iter().filter_map(without_prefix).collect());

    let mut no_router = shapes();
    no_router.remove("model.layers.0.block_sparse_moe.gate.weight");
    checkpoint(&place("no-router"), config(), no_router);

    let mut wrong_shape = shapes();
    wrong_shape.insert("model.layers.0.self_attn.k_proj.weight".to_owned(), vec![HIDDEN, HIDDEN]);
    checkpoint(&place("wrong-shape"), config(), wrong_shape);

    checkpoint(&place("truncated"), config(), shapes());
    let weights = place("truncated").join("model.safetensors");
    let whole = fs::read(&weights).expect("it was just written");
    fs::write(&weights, &whole[..whole.len() - 10]).expect("the target directory can be written to");

    checkpoint(&place("missing-shard"), config(), shapes());
    fs::remove_file(place("missing-shard").join("model.safetensors")).expect("it was just written");
    let shard = "model-00001-of-00001.safetensors";
    let map: BTreeMap<String, &str> = shapes().into_keys().map(|name| (name, shard)).collect();
    let index = json!({ "metadata": { "total_size": 0 }, "weight_map": map });
    file(&place("missing-shard").join("model.safetensors.index.json"), index.to_string().as_bytes());

    checkpoint(&place("large-tokenizer"), config(), shapes());
    let vocabulary: BTreeMap<String, usize> =
        (0..VOCABULARY + 4).map(|id| (format!("token{id}"), id)).collect();
    let tokenizer =
        json!({ "model": { "type": "BPE", "vocab": vocabulary, "merges": [] }, "added_tokens": [] });
    file(&place("large-tokenizer").join("tokenizer.json"), tokenizer.to_string().as_bytes());

    checkpoint(&place("malformed-config"), config(), shapes());
    file(&place("malformed-config").join("config.json"), b"{ \"model_type\": \"mixtral\", ");

    let (dense_config, dense_shapes) = (dense_config(), dense_shapes());
    checkpoint(&place("dense"), dense_config.clone(), dense_shapes.clone());

    let mut unknown_rope = dense_config.clone();
    unknown_rope["rope_scaling"] = json!({ "rope_type": "yarnn", "factor": 4.0 });
    checkpoint(&place("rope-unknown"), unknown_rope, dense_shapes.clone());

    let mut reversed_rope = dense_config.clone();
    reversed_rope["rope_scaling"] =
        json!({ "rope_type": "llama3", "factor": -8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0 });
    checkpoint(&place("rope-reversed"), reversed_rope, dense_shapes.clone());

    let mut short_rope = dense_config.clone();
    short_rope["rope_parameters"] = json!({ "rope_type": "longrope", "short_factor": [1.0, 2.0, 3.0] });
    checkpoint(&place("rope-short"), short_rope, dense_shapes.clone());

    let mut three_windows = dense_config.clone();
    three_windows["model_type"] = json!("qwen3");
    three_windows["layer_types"] = json!(["full_attention", "full_attention", "sliding_attention"]);
    checkpoint(&place("three-windows"), three_windows, dense_shapes.clone());

    let mut no_window = dense_config.clone();
    no_window["model_type"] = json!("mistral");
    no_window["sliding_window"] = json!(0);
    checkpoint(&place("window-of-nothing"), no_window, dense_shapes.clone());

    let mut qwen2 = dense_config;
    qwen2["model_type"] = json!("qwen2");
    checkpoint(&place("no-bias"), qwen2, dense_shapes);
}

fn config() -> Value {
    json!({
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 6,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2,
    })
}

fn shapes() -> Shapes {
    let of_layer = [
        ("input_layernorm", vec![HIDDEN]),
        ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.k_proj", vec![4, HIDDEN]),
        ("self_attn.v_proj", vec![4, HIDDEN]),
        ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
        ("post_attention_layernorm", vec![HIDDEN]),
        ("block_sparse_moe.gate", vec![EXPERTS, HIDDEN]),
    ];
    let mut shapes: Shapes =
        of_layer.into_iter().map(|(name, shape)| (format!("model.layers.0.{name}.weight"), shape)).collect();
    for expert in 0..EXPERTS {
        for (matrix, shape) in [("w1", vec![6, HIDDEN]), ("w2", vec![HIDDEN, 6]), ("w3", vec![6, HIDDEN])] {
            let name = format!("model.layers.0.block_sparse_moe.experts.{expert}.{matrix}.weight");
            shapes.insert(name, shape);
        }
    }
    shapes.insert("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]);
    shapes.insert("model.norm.weight".to_owned(), vec![HIDDEN]);
    shapes.insert("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]);
    shapes
}

fn dense_config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 6,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
    })
}

fn dense_shapes() -> Shapes {
    let dense =
        |(name, shape): (String, Vec<usize>)| (!name.contains("block_sparse_moe")).then_some((name, shape));
    let mut shapes: Shapes = shapes().into_iter().filter_map(dense).collect();
    for (map, shape) in [("gate_proj", [6, HIDDEN]), ("up_proj", [6, HIDDEN]), ("down_proj", [HIDDEN, 6])] {
        shapes.insert(format!("model.layers.0.mlp.{map}.weight"), shape.to_vec());
    }
    shapes
}

/// Writes a checkpoint whose weights are all zero.
fn checkpoint(directory: &Path, config: Value, shapes: Shapes) {
    checkpoint_of(directory, config, shapes, |_| "BF16");
}

/// Writes a checkpoint with tensors of these dtypes, each of two bytes.
fn checkpoint_of(directory: &Path, config: Value, shapes: Shapes, dtype: impl Fn(&str) -> &'static str) {
    fs::create_dir_all(directory).expect("the target directory can be written to");
    file(&directory.join("config.json"), config.to_string().as_bytes());
    let mut header = BTreeMap::new();
    let mut end = 0;
    for (name, shape) in shapes {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": dtype(&name), "shape": shape, "data_offsets": [start, end] });
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).expect("a header is JSON");
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header);
    weights.resize(weights.len() + end, 0);
    file(&directory.join("model.safetensors"), &weights);
}

fn file(path: &Path, contents: &[u8]) {
    fs::write(path, contents).expect("the target directory can be written to");
}
