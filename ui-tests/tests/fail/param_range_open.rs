use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 1.0, range = 0.1..)]
    temperature: f32,
}

fn main() {}
