use pipelines::prelude::*;

#[pipeline(arch = moe)]
fn tell() {}

fn main() {}
