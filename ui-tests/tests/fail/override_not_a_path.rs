use pipelines::prelude::*;

#[pipeline(arch = moe, format = |raw| raw)]
struct Storyteller;

fn main() {}
