use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [Hardware::Cuda])]
struct Storyteller;

fn main() {}
