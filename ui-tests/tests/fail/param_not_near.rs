use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 50)]
    num_inference_steps: usize,
}

fn main() {}
