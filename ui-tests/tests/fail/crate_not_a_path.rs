use pipelines::prelude::*;

#[pipeline(arch = moe, crate = 1)]
struct Storyteller;

fn main() {}
