use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/malformed-snapshot")]
struct Storyteller;

fn main() {}
