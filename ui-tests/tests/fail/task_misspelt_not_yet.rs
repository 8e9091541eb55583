use pipelines::prelude::*;

#[pipeline(arch = moe, task = "sumarization")]
struct Storyteller;

fn main() {}
