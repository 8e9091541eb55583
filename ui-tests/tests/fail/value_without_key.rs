use pipelines::prelude::*;

#[pipeline("moe", hardware = [cpu])]
struct Storyteller;

fn main() {}
