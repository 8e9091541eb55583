use pipelines::prelude::*;

#[pipeline(arch = sam, task = mask-generation)]
struct Storyteller {
    #[param(default = [[100, 200, 300]])]
    points: Vec<[f32; 2]>,
}

fn main() {}
