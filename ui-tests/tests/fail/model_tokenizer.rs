use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/large-tokenizer")]
struct Storyteller;

fn main() {}
