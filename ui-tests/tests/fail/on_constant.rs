use pipelines::prelude::*;

#[pipeline(arch = moe)]
const STORYTELLER: () = ();

fn main() {}
