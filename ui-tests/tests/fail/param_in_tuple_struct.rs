use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller(#[param(default = 0.8)] f32);

fn main() {}
