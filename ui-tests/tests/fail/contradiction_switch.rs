use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = "switch")]
    routing: String,
    #[param(default = 2)]
    num_active_experts: usize,
}

fn main() {}
