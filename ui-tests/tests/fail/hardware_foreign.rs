use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [metal, cpu])]
struct Storyteller;

fn main() {}
