use pipelines::prelude::*;

#[pipeline(arch = moe, model = "checkpoints/integers")]
struct Storyteller;

fn main() {}
