use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param]
    temperature: f32,
}

fn main() {}
