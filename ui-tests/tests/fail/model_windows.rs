use pipelines::prelude::*;

#[pipeline(arch = text, hardware = [cpu], model = "checkpoints/three-windows")]
struct Storyteller;

fn main() {}
