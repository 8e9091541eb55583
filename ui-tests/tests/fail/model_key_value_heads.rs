use pipelines::prelude::*;

#[pipeline(arch = moe, model = "checkpoints/three-key-value-heads")]
struct Storyteller;

fn main() {}
