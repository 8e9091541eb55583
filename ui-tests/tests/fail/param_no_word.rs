use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 50)]
    wit: usize,
}

fn main() {}
