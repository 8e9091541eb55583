use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 0.5, range = 0.1..=500)]
    temperature: f32,
}

fn main() {}
