use pipelines::prelude::*;

#[pipeline(arch = moe)]
mod storyteller {}

fn main() {}
