use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 2.5)]
    top_k: usize,
}

fn main() {}
