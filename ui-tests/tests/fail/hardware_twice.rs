use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [rocm, cpu, amd])]
struct Storyteller;

fn main() {}
