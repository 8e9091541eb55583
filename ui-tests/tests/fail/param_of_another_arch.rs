use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 512)]
    width: u32,
}

fn main() {}
