use pipelines::prelude::*;

#[pipeline(arch = decoder-only, hardware = [cpu], model = "checkpoints/tiny")]
struct Storyteller;

fn main() {}
