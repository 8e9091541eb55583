use pipelines::prelude::*;

struct Storyteller;

#[pipeline(arch = moe)]
impl Storyteller {}

fn main() {}
