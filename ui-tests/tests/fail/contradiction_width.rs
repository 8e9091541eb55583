use pipelines::prelude::*;

#[pipeline(arch = diffusion)]
struct Storyteller {
    #[param(default = 500)]
    width: u32,
    #[param(default = 512)]
    height: u32,
}

fn main() {}
