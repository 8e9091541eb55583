use pipelines::prelude::*;

#[pipeline(arch = moe, hardware =, task)]
struct Storyteller;

fn main() {}
