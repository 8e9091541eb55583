use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 2)]
    num_active_experts: Option<i32>,
}

fn main() {}
