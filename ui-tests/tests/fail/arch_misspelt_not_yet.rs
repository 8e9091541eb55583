use pipelines::prelude::*;

#[pipeline(arch = "difusion")]
struct Storyteller;

fn main() {}
