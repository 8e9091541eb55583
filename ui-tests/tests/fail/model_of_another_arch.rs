use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/dense")]
struct Storyteller;

fn main() {}
