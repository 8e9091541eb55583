use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = "dorp")]
    overflow: String,
    #[param(default = 1.5)]
    capacity_factor: f32,
}

fn main() {}
