use pipelines::prelude::*;

#[pipeline(arch = moe, model = checkpoints)]
struct Storyteller;

fn main() {}
