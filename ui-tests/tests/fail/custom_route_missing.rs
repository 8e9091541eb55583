use pipelines::prelude::*;

#[pipeline(arch = moe, custom(route))]
struct Storyteller;

fn main() {}
