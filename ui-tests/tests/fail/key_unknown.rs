use pipelines::prelude::*;

#[pipeline(arch = moe, hardwares = [cpu])]
struct Storyteller;

fn main() {}
