use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/tiny")]
struct Storyteller {
    #[param(default = 100)]
    max_new_tokens: usize,
}

fn main() {}
