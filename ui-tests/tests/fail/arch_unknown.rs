use pipelines::prelude::*;

#[pipeline(arch = "moee", hardware = [cpu])]
struct Storyteller;

fn main() {}
