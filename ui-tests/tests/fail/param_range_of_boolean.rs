use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = true, range = 0..=1)]
    do_sample: bool,
}

fn main() {}
