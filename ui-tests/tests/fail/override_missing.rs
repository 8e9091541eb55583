use pipelines::prelude::*;

#[pipeline(arch = moe, format = shout)]
struct Storyteller;

fn main() {}
