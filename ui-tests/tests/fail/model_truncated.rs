use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/truncated")]
struct Storyteller;

fn main() {}
