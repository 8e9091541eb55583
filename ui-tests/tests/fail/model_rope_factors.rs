use pipelines::prelude::*;

#[pipeline(arch = text, hardware = [cpu], model = "checkpoints/rope-short")]
struct Storyteller;

fn main() {}
