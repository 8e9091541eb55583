use pipelines::prelude::*;

#[pipeline(arch = diffusion, task = "text-to-image")]
struct Storyteller {
    #[param(default = 0.5)]
    strength: f32,
}

fn main() {}
