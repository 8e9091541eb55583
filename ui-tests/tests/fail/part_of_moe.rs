use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller;

#[pipeline(arch = moe, generator = Storyteller, taks = Storyteller)]
struct Court;

fn main() {}
