use pipelines::prelude::*;

#[pipeline(arch = moe, custom(1))]
struct Storyteller;

fn main() {}
