use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [1])]
struct Storyteller;

fn main() {}
