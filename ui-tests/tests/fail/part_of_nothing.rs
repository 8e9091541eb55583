use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller;

#[pipeline(arch = moe, critic = Storyteller)]
struct Court;

fn main() {}
