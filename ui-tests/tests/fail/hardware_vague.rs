use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = gpu)]
struct Storyteller;

fn main() {}
