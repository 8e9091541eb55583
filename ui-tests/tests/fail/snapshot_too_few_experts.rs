use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/prepared")]
struct Storyteller {
    #[param(default = 9)]
    num_active_experts: usize,
}

fn main() {}
