use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = "drop")]
    overflow: &'static str,
}

fn main() {}
