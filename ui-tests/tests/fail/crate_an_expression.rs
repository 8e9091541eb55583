use pipelines::prelude::*;

#[pipeline(arch = moe, crate = [pipelines])]
struct Storyteller;

fn main() {}
