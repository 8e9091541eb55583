use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cuad, cpu])]
struct Storyteller;

fn main() {}
