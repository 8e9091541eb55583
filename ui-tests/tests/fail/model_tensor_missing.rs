use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/no-router")]
struct Storyteller;

fn main() {}
