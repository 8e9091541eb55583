use pipelines::prelude::*;

#[pipeline(arch = diffusion)]
struct Storyteller {
    #[param(default = 1)]
    guidance_scale: f32,
    #[param(default = "rain")]
    negative_prompt: String,
}

fn main() {}
