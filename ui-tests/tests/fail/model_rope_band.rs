use pipelines::prelude::*;

#[pipeline(arch = text, hardware = [cpu], model = "checkpoints/rope-reversed")]
struct Storyteller;

fn main() {}
