use pipelines::prelude::*;

#[pipeline(arch = moe, task = "text-generatoin")]
struct Storyteller;

fn main() {}
