use pipelines::prelude::*;

#[pipeline(arch = moe, = cpu)]
struct Storyteller;

fn main() {}
