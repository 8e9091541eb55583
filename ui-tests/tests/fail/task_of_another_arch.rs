use pipelines::prelude::*;

#[pipeline(arch = moe, task = "text-to-image")]
struct Storyteller;

fn main() {}
