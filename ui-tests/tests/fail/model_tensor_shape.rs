use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/wrong-shape")]
struct Storyteller;

fn main() {}
