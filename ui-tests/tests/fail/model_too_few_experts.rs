use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/tiny")]
struct Storyteller {
    #[param(default = 9)]
    num_active_experts: usize,
}

fn main() {}
