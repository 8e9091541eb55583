use pipelines::prelude::*;

#[pipeline(arch = audio, task = "text-generation")]
struct Storyteller;

fn main() {}
