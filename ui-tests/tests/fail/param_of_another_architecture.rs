use pipelines::prelude::*;

#[pipeline(arch = text)]
struct Storyteller {
    #[param(default = 2)]
    num_active_experts: usize,
}

fn main() {}
