use pipelines::prelude::*;

#[pipeline(arch = moe, task = text generation, hardware = [cpu])]
struct Storyteller;

fn main() {}
