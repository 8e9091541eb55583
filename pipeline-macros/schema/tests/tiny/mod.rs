//! A tiny Mixtral checkpoint with random weights, written as the reference writes it, for tests to break.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::path::Path;

use serde_json::{Map, Value, json};

/// One tensor of the checkpoint.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The checkpoint, in memory.
#[derive(Clone, Debug)]
pub struct Tiny {
    pub config: Value,
    pub tokenizer: Option<Value>,
    pub tensors: Vec<Tensor>,
}

/// Numbers without a pattern, the same in every run.
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // xorshift64*, https://doi.org/10.1145/2845077
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

impl Tiny {
    /// 2 layers, 8 experts, 32 tokens in the vocabulary and a context of 64.
    pub fn new() -> Tiny {
        let config = json!({
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "vocab_size": 32,
            "hidden_size": 12,
            "intermediate_size": 6,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "head_dim": null,
            "hidden_act": "silu",
            "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
            "sliding_window": null,
            "tie_word_embeddings": false,
            "num_experts_per_tok": 2,
            "num_local_experts": 8
        });
        let vocab: Map<String, Value> = (0..30).map(|id| (format!("t{id}"), json!(id))).collect();
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": [{"id": 30, "content": "<s>"}, {"id": 31, "content": "</s>"}],
            "model": {"type": "BPE", "vocab": vocab, "merges": []}
        });
        let mut tiny = Tiny { config, tokenizer: Some(tokenizer), tensors: Vec::new() };
        let mut random = Random(7);
        let mut add = |name: String, shape: &[usize]| {
            let numbers = (0..shape.iter().product()).map(|_| random.below(1000) as f32 / 500.0 - 1.0);
            let bytes = numbers.flat_map(f32::to_le_bytes).collect();
            tiny.tensors.push(Tensor { name, dtype: "F32".to_owned(), shape: shape.to_vec(), bytes });
        };
        add("lm_head.weight".to_owned(), &[32, 12]);
        add("model.embed_tokens.weight".to_owned(), &[32, 12]);
        for layer in 0..2 {
            for expert in 0..8 {
                let name = |matrix| {
                    format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{matrix}.weight")
                };
                add(name("w1"), &[6, 12]);
                add(name("w2"), &[12, 6]);
                add(name("w3"), &[6, 12]);
            }
            let name = |part| format!("model.layers.{layer}.{part}.weight");
            add(name("block_sparse_moe.gate"), &[8, 12]);
            add(name("input_layernorm"), &[12]);
            add(name("post_attention_layernorm"), &[12]);
            add(name("self_attn.k_proj"), &[6, 12]);
            add(name("self_attn.o_proj"), &[12, 12]);
            add(name("self_attn.q_proj"), &[12, 12]);
            add(name("self_attn.v_proj"), &[6, 12]);
        }
        add("model.norm.weight".to_owned(), &[12]);
        tiny
    }

    /// The same checkpoint with a field of `config.json` set.
    pub fn with(mut self, field: &str, value: Value) -> Tiny {
        self.config[field] = value;
        self
    }

    /// The same checkpoint without a field of `config.json`.
    pub fn without(mut self, field: &str) -> Tiny {
        self.config.as_object_mut().unwrap().remove(field);
        self
    }

    /// A tensor by its name.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// Writes `config.json`, `tokenizer.json` and `model.safetensors`.
    pub fn write(&self, directory: &Path) {
        self.write_small_files(directory);
        std::fs::write(directory.join("model.safetensors"), file(&self.tensors)).unwrap();
    }

    /// Writes `config.json`, `tokenizer.json`, two shards and their index.
    pub fn write_sharded(&self, directory: &Path) {
        self.write_small_files(directory);
        let shards = self.tensors.chunks(self.tensors.len().div_ceil(2)).enumerate();
        let mut weight_map = Map::new();
        for (number, tensors) in shards {
            let name = format!("model-0000{}-of-00002.safetensors", number + 1);
            weight_map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
            std::fs::write(directory.join(&name), file(tensors)).unwrap();
        }
        let index = json!({"metadata": {"total_size": 0}, "weight_map": weight_map});
        std::fs::write(directory.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }

    fn write_small_files(&self, directory: &Path) {
        std::fs::write(directory.join("config.json"), self.config.to_string()).unwrap();
        if let Some(tokenizer) = &self.tokenizer {
            std::fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        }
    }
}

/// The header of a file with these tensors, as JSON.
pub fn header(tensors: &[Tensor]) -> Value {
    let mut end = 0;
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    for tensor in tensors {
        let start = end;
        end += tensor.bytes.len();
        let entry = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(tensor.name.clone(), entry);
    }
    Value::Object(header)
}

/// A safetensors file with these tensors.
pub fn file(tensors: &[Tensor]) -> Vec<u8> {
    let data: Vec<u8> = tensors.iter().flat_map(|tensor| tensor.bytes.iter().copied()).collect();
    file_of(header(tensors).to_string().as_bytes(), &data)
}

/// A safetensors file with this header, padded as the reference pads it, and these bytes after it.
pub fn file_of(header: &[u8], data: &[u8]) -> Vec<u8> {
    let padded = header.len().next_multiple_of(8);
    let mut file = (padded as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.resize(8 + padded, b' ');
    file.extend(data);
    file
}
