use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 0.8)]
    #[param(range = 0.1..=1.5)]
    temperature: f32,
}

fn main() {}
