use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/missing")]
struct Storyteller;

fn main() {}
