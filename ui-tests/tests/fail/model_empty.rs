use pipelines::prelude::*;

#[pipeline(arch = moe, model = "")]
struct Storyteller;

fn main() {}
