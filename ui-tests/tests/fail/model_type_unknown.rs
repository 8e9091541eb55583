use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/unknown-type")]
struct Storyteller;

fn main() {}
