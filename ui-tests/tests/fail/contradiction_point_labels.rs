use pipelines::prelude::*;

#[pipeline(arch = sam, task = "mask-generation")]
struct Storyteller {
    #[param(default = [1, 0])]
    point_labels: Vec<u8>,
}

fn main() {}
