use pipelines::prelude::*;

#[pipeline(arch = moe, custom(infer))]
struct Storyteller;

fn main() {}
