use pipelines::prelude::*;

#[pipeline(arch = moe, crate = "my pipelines")]
struct Storyteller;

fn main() {}
