use pipelines::prelude::*;

type Experts = Vec<u8>;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param]
    num_active_experts: Option<Experts>,
}

fn main() {}
