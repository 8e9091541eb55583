use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/missing-shard")]
struct Storyteller;

fn main() {}
