use pipelines::prelude::*;

#[pipeline(arch = moe, model = "checkpoints/odd-heads")]
struct Storyteller;

fn main() {}
