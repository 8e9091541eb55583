use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = false)]
    do_sample: bool,
    #[param(default = 0.8)]
    temperature: f32,
}

fn main() {}
