use pipelines::prelude::*;

#[pipeline(arch = moe, crate = conduits)]
struct Storyteller;

fn main() {}
