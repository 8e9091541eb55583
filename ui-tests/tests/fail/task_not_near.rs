use pipelines::prelude::*;

#[pipeline(arch = moe, task = singing)]
struct Storyteller;

fn main() {}
