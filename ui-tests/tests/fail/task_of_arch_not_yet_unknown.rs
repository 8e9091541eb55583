use pipelines::prelude::*;

#[pipeline(arch = vision, task = "painting")]
struct Storyteller;

fn main() {}
