use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = "switch")]
    routing: String,
}

fn main() {}
