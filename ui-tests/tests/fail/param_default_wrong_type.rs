use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = "hot")]
    temperature: f32,
}

fn main() {}
