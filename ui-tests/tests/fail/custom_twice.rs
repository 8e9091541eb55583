use pipelines::prelude::*;

#[pipeline(arch = moe, custom(format), custom(format))]
struct Storyteller;

fn main() {}
