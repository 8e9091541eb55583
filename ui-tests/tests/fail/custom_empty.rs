use pipelines::prelude::*;

#[pipeline(arch = moe, custom())]
struct Storyteller;

fn main() {}
