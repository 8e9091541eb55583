use pipelines::prelude::*;

#[pipeline(arch = text, hardware = [cpu], model = "checkpoints/window-of-nothing")]
struct Storyteller;

fn main() {}
