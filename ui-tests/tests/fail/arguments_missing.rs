use pipelines::prelude::*;

#[pipeline]
struct Storyteller;

fn main() {}
