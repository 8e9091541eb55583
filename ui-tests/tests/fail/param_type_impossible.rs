use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = "hot")]
    temperature: String,
}

fn main() {}
