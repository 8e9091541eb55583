use pipelines::prelude::*;

#[pipeline(arch = moe, task = "feature-extraction")]
struct Storyteller {
    #[param(default = 0.8)]
    temperature: f32,
}

fn main() {}
