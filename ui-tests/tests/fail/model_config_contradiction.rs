use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/five-of-four")]
struct Storyteller;

fn main() {}
