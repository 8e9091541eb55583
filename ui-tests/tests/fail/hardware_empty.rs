use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [])]
struct Storyteller;

fn main() {}
