//! A checkpoint of 50,000 tensors whose weights take no place on the disk.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// Files of weights.
pub(super) const SHARDS: usize = 61;

const LAYERS: usize = 61;
const EXPERTS: usize = 271;
const HIDDEN: usize = 2048;
const VOCABULARY: usize = 32_000;

/// A tensor: its name and its shape.
type Tensor = (String, Vec<usize>);

/// Writes the checkpoint: a Mixtral with very many experts, in the layout of transformers' `save_pretrained`.
/// Returns how many tensors it has.
pub(super) fn write(directory: &Path) -> usize {
    fs::create_dir_all(directory).expect("the target directory can be written to");
    let put = |file: &str, text: &str| {
        fs::write(directory.join(file), text).expect("the target directory can be written to");
    };
    put("config.json", &config());
    put("tokenizer.json", &tokenizer());
    let mut shards: Vec<Vec<Tensor>> = (0..LAYERS).map(layer).collect();
    shards[0].push(("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]));
    shards[LAYERS - 1].push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    shards[LAYERS - 1].push(("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]));
    let mut weight_map = BTreeMap::new();
    for (number, mut tensors) in shards.into_iter().enumerate() {
        let name = format!("model-{:05}-of-{SHARDS:05}.safetensors", number + 1);
        // As the library writes them.
        tensors.sort();
        shard(&directory.join(&name), &tensors);
        weight_map.extend(tensors.into_iter().map(|(tensor, _)| (tensor, name.clone())));
    }
    let index = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": weight_map });
    put("model.safetensors.index.json", &format!("{index:#}\n"));
    weight_map.len()
}

fn config() -> String {
    let config = serde_json::json!({
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 1408,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 8,
        "torch_dtype": "bfloat16",
    });
    format!("{config:#}\n")
}

/// A vocabulary of the declared size, with as many merges.
fn tokenizer() -> String {
    let vocabulary: BTreeMap<String, usize> = (0..VOCABULARY).map(|id| (format!("▁piece{id}"), id)).collect();
    let merges: Vec<String> = (0..VOCABULARY).map(|id| format!("▁pi ece{id}")).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0",
        "added_tokens": [{ "id": 0, "content": "<unk>", "special": true }],
        "model": { "type": "BPE", "vocab": vocabulary, "merges": merges },
    });
    format!("{tokenizer:#}\n")
}

fn layer(layer: usize) -> Vec<Tensor> {
    let attention = [
        ("input_layernorm", vec![HIDDEN]),
        ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.k_proj", vec![HIDDEN / 4, HIDDEN]),
        ("self_attn.v_proj", vec![HIDDEN / 4, HIDDEN]),
        ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
        ("post_attention_layernorm", vec![HIDDEN]),
        ("block_sparse_moe.gate", vec![EXPERTS, HIDDEN]),
    ];
    let experts = (0..EXPERTS).flat_map(|expert| {
        [("w1", vec![1408, HIDDEN]), ("w2", vec![HIDDEN, 1408]), ("w3", vec![1408, HIDDEN])]
            .map(|(matrix, shape)| (format!("block_sparse_moe.experts.{expert}.{matrix}"), shape))
    });
    attention
        .into_iter()
        .map(|(name, shape)| (name.to_owned(), shape))
        .chain(experts)
        .map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape))
        .collect()
}

/// A file with its header, as long as its weights would make it and without them.
fn shard(path: &Path, tensors: &[Tensor]) {
    let mut header = "{\"__metadata__\":{\"format\":\"pt\"}".to_owned();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>() as u64;
        let shape = format!("{shape:?}").replace(' ', "");
        write!(
            header,
            ",\"{name}\":{{\"dtype\":\"BF16\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}"
        )
        .expect("a text can be written to");
    }
    header.push('}');
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = File::create(path).expect("the target directory can be written to");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("the file was just made");
    file.write_all(header.as_bytes()).expect("the file was just made");
    file.set_len(8 + header.len() as u64 + end).expect("the file system has sparse files");
}
