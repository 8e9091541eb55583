use pipelines::prelude::*;

#[pipeline(arch = moe)]
trait Storyteller {}

fn main() {}
