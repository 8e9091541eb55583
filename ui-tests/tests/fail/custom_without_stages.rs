use pipelines::prelude::*;

#[pipeline(arch = moe, custom = format)]
struct Storyteller;

fn main() {}
