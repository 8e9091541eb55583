use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default)]
    temperature: f32,
}

fn main() {}
