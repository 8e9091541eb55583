//! What stands at the edge of a rule is allowed.

use pipelines::prelude::*;

#[pipeline(arch = decoder_only, task = "text_generation", hardware = "amd")]
struct Least {
    #[param(default = 1, range = 1..=1)]
    max_new_tokens: u8,
    #[param(default = 0, range = 0..=100)]
    temperature: f32,
    #[param(default = 0.0)]
    top_p: f64,
    #[param(default = 0, range = 0..=0)]
    top_k: u32,
    #[param(default = 0.01)]
    repetition_penalty: f32,
    #[param(default = 0)]
    seed: u64,
    #[param(default = [])]
    stop: Vec<String>,
}

#[pipeline(arch = "encoder-decoder", hardware = [cpu], dtype = bf16)]
struct Greatest {
    #[param(default = 100, range = 0.0..=100.0)]
    temperature: f32,
    #[param(default = 1, range = 1..=1)]
    top_p: f32,
    #[param(default = 18446744073709551615)]
    seed: u64,
}

/// The context is 64 tokens, and the checkpoint has 4 experts.
#[pipeline(arch = moe, model = "checkpoints/tiny")]
struct Filled {
    #[param(default = 64)]
    max_new_tokens: usize,
    #[param(default = 4)]
    num_active_experts: usize,
}

/// Greedy decoding has a use for these.
#[pipeline(arch = moe)]
struct Greedy {
    #[param(default = false)]
    do_sample: bool,
    #[param(default = 1.1)]
    repetition_penalty: f32,
    #[param(default = 64)]
    max_new_tokens: usize,
}

/// A parameter of no task in particular.
#[pipeline(arch = moe, task = text_embedding)]
struct Reader {
    #[param(default = 1)]
    num_active_experts: usize,
    #[param(default = 0.01)]
    capacity_factor: f64,
    #[param(default = "drop")]
    overflow: &'static str,
}

/// The numbers of a format are not the processor's where it does not run there.
#[pipeline(arch = text, hardware = [cuda, rocm], dtype = f16)]
struct Half;

fn main() {
    assert_eq!(Least::HARDWARE, [Hardware::Rocm]);
    assert_eq!(Half::DTYPE, Some(DType::F16));
    assert!(Filled::MODEL.is_some());
    let _ = (Greatest::NAME, Greedy::NAME, Reader::NAME);
}
