use pipelines::prelude::*;

#[pipeline(arch = moe, crate)]
struct Storyteller;

fn main() {}
