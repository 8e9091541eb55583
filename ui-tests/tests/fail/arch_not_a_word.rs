use pipelines::prelude::*;

#[pipeline(arch = 1)]
struct Storyteller;

fn main() {}
