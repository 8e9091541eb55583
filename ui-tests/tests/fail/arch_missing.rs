use pipelines::prelude::*;

#[pipeline(task = "text-generation", hardware = [cpu])]
struct Storyteller;

fn main() {}
