use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/malformed-config")]
struct Storyteller;

fn main() {}
