use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/above")]
struct Storyteller;

fn main() {}
