use pipelines::prelude::*;

#[pipeline(arch = moe, dtype = "b16")]
struct Storyteller;

fn main() {}
