use pipelines::prelude::*;

#[pipeline(arch = moe, custom(formta))]
struct Storyteller;

fn main() {}
