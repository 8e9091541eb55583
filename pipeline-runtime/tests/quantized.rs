//! A model whose weights are quantised while it is loaded gives what the same model gives with weights that were
//! quantised and made dense again beforehand, but for the rounding of activations.

use std::path::Path;

use pipeline_runtime::QuantizedFormat;
use pipeline_runtime::forward::{ForwardOptions, Inputs, forward};
use pipeline_runtime::kernels::QuantizedRef;
use pipeline_runtime::kernels::quantized::{dequantize, quantize};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// What a checkpoint holds: names, shapes and numbers.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

const HIDDEN: usize = 256;
const VOCABULARY: usize = 300;
const LAYERS: usize = 2;

/// A decoder of two layers. Rows of its feed-forward networks' last maps are whole blocks of `Q4_K` or not.
fn config(model_type: &str, intermediate: usize) -> Value {
    json!({
        "model_type": model_type,
        "architectures": [if model_type == "mixtral" { "MixtralForCausalLM" } else { "LlamaForCausalLM" }],
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": intermediate,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": false,
    })
}

fn tensors(model_type: &str, intermediate: usize) -> Tensors {
    let mut generator = ChaCha8Rng::seed_from_u64(3);
    let mut tensors = Tensors::new();
    let mut add = |name: String, shape: &[usize], scale: f32| {
        let numbers = match shape {
            [length] => (0..*length).map(|_| generator.random_range(0.7..1.3)).collect(),
            shape => {
                let bound = scale * (3.0 / shape[1] as f32).sqrt();
                (0..shape[0] * shape[1]).map(|_| generator.random_range(-bound..bound)).collect()
            }
        };
        tensors.push((name, shape.to_vec(), numbers));
    };
    add("model.embed_tokens.weight".to_owned(), &[VOCABULARY, HIDDEN], 16.0);
    add("model.norm.weight".to_owned(), &[HIDDEN], 1.0);
    add("lm_head.weight".to_owned(), &[VOCABULARY, HIDDEN], 1.0);
    for layer in 0..LAYERS {
        let name = |name: &str| format!("model.layers.{layer}.{name}.weight");
        add(name("input_layernorm"), &[HIDDEN], 1.0);
        add(name("post_attention_layernorm"), &[HIDDEN], 1.0);
        for (map, outputs) in
            [("q_proj", HIDDEN), ("k_proj", HIDDEN / 2), ("v_proj", HIDDEN / 2), ("o_proj", HIDDEN)]
        {
            add(name(&format!("self_attn.{map}")), &[outputs, HIDDEN], 1.0);
        }
        let (up, down) = ([intermediate, HIDDEN], [HIDDEN, intermediate]);
        if model_type == "mixtral" {
            // Far from ties: a token must not visit another expert for a rounded number.
            add(name("block_sparse_moe.gate"), &[4, HIDDEN], 8.0);
            for expert in 0..4 {
                for (map, shape) in [("w1", up), ("w2", down), ("w3", up)] {
                    add(name(&format!("block_sparse_moe.experts.{expert}.{map}")), &shape, 1.0);
                }
            }
        } else {
            for (map, shape) in [("gate_proj", up), ("up_proj", up), ("down_proj", down)] {
                add(name(&format!("mlp.{map}")), &shape, 1.0);
            }
        }
    }
    tensors
}

/// Quantised and made dense again, as the documentation says which tensor is.
fn rounded(tensors: &Tensors, format: QuantizedFormat, intermediate: usize) -> Tensors {
    let round = |(name, shape, numbers): &(String, Vec<usize>, Vec<f32>)| {
        let is = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let format = if is(&["lm_head.weight"]) {
            QuantizedFormat::Q80.fitting(&[HIDDEN])
        } else if is(&["w1.weight", "w2.weight", "w3.weight"]) {
            format.fitting(&[HIDDEN, intermediate])
        } else if is(&["_proj.weight"]) {
            format.fitting(&[shape[1]])
        } else {
            None
        };
        let mut numbers = numbers.clone();
        if let Some(format) = format {
            let blocks = quantize(format, &numbers).unwrap();
            dequantize(QuantizedRef::new(format, &blocks), &mut numbers);
        }
        (name.clone(), shape.clone(), numbers)
    };
    tensors.iter().map(round).collect()
}

fn write(directory: &Path, config: &Value, tensors: &Tensors) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(.., numbers)| numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(directory.join("model.safetensors"), file).unwrap();
}

/// The logits of `rows` texts of `tokens` tokens.
fn logits(directory: &Path, rows: usize, tokens: usize, quantization: Option<QuantizedFormat>) -> Vec<f32> {
    let ids: Vec<u8> =
        (0..rows * tokens).flat_map(|index| ((index * 37 % VOCABULARY) as i64).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::I64, vec![rows, tokens], &ids).unwrap();
    let path = directory.join("inputs.safetensors");
    std::fs::write(&path, safetensors::serialize([("input_ids", view)], None).unwrap()).unwrap();
    let options = ForwardOptions { quantization, ..ForwardOptions::default() };
    let outputs = forward(directory, &Inputs::read(&path).unwrap(), &options).unwrap();
    let (_, logits) = outputs.iter().find(|(name, _)| name == "logits").unwrap();
    logits.to_vec().unwrap()
}

/// The root of the mean square of the difference, as a share of that of the numbers.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    let square = |number: f32| f64::from(number).powi(2);
    let differences: f64 = found.iter().zip(expected).map(|(found, expected)| square(found - expected)).sum();
    (differences / expected.iter().map(|&number| square(number)).sum::<f64>()).sqrt()
}

#[test]
fn quantised_models_are_those_of_their_rounded_weights() {
    let scratch = tempfile::tempdir().unwrap();
    for (model_type, intermediate) in [("mixtral", 512), ("mixtral", 288), ("llama", 512), ("llama", 288)] {
        let tensors = tensors(model_type, intermediate);
        let config = config(model_type, intermediate);
        let original = scratch.path().join("original");
        write(&original, &config, &tensors);
        for format in QuantizedFormat::ALL {
            let dense = scratch.path().join("rounded");
            write(&dense, &config, &rounded(&tensors, format, intermediate));
            // Few rows, whose activations are rounded to 8 bits, and many, whose weights become dense.
            for (rows, tokens) in [(1, 1), (1, 7), (2, 20)] {
                let case = format!("{model_type} {intermediate} {format} {rows}x{tokens}");
                let found = logits(&original, rows, tokens, Some(format));
                let expected = logits(&dense, rows, tokens, None);
                // A rounded activation is off by 0.4 % on average, and so is a product of many; a dozen products follow
                // each other, part of them beside a residual stream that is not rounded.
                let error = difference(&found, &expected);
                assert!(error < 0.02, "{case}: {error}");
                assert!(error > 0.0, "{case}: nothing was rounded");
                // Weights of 4 bits are off by more.
                let from_original = difference(&found, &logits(&original, rows, tokens, None));
                let whole_blocks = model_type == "llama" || intermediate == 512;
                if format == QuantizedFormat::Q4K && whole_blocks {
                    assert!(from_original > 2.0 * error, "{case}: {from_original}, {error}");
                }
                eprintln!("{case}: {error:.4} from rounded weights, {from_original:.4} from the original");
            }
        }
    }
}
