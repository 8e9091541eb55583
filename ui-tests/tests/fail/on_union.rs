use pipelines::prelude::*;

#[pipeline(arch = moe)]
union Storyteller {
    temperature: f32,
    top_k: usize,
}

fn main() {}
