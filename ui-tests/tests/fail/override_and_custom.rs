use pipelines::prelude::*;

#[pipeline(arch = moe, format = shout, custom(format))]
struct Storyteller;

fn main() {}
