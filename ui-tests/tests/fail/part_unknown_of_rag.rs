use pipelines::prelude::*;

#[pipeline(arch = rag, generater = Storyteller)]
struct Storyteller;

fn main() {}
