use pipelines::prelude::*;

#[pipeline(arch = moe, dtype = DType::F8)]
struct Storyteller;

fn main() {}
