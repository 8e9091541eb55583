use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cuda, cpu], dtype = f16)]
struct Storyteller;

fn main() {}
