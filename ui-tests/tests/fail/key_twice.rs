use pipelines::prelude::*;

#[pipeline(arch = moe, task = "text-generation", task = "feature-extraction")]
struct Storyteller;

fn main() {}
