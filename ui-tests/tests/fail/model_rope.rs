use pipelines::prelude::*;

#[pipeline(arch = text, hardware = [cpu], model = "checkpoints/rope-unknown")]
struct Storyteller;

fn main() {}
