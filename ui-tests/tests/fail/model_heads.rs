use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/three-heads")]
struct Storyteller;

fn main() {}
