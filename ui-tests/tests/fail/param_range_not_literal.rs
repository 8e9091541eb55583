use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 0.8, range = LOW..=1.5)]
    temperature: f32,
}

fn main() {}
