use pipelines::prelude::*;

#[pipeline(arch = text, hardware = [cpu], model = "checkpoints/no-bias")]
struct Storyteller;

fn main() {}
