use pipelines::prelude::*;

#[pipeline(arch = moe)]
type Storyteller = ();

fn main() {}
