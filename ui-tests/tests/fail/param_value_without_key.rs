use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(0.8)]
    temperature: f32,
}

fn main() {}
