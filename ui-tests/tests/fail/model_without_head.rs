use pipelines::prelude::*;

#[pipeline(arch = moe, task = "text-generation", hardware = [cpu], model = "checkpoints/headless")]
struct Storyteller;

fn main() {}
