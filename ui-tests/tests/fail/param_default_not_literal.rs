use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 40 + 10)]
    top_k: usize,
}

fn main() {}
