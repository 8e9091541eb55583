use pipelines::prelude::*;

#[pipeline(arch = moe, custom(preprocess))]
struct Storyteller;

fn main() {}
