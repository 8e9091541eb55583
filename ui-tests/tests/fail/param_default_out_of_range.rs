use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = -0.5)]
    temperature: f32,
}

fn main() {}
