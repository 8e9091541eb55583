use pipelines::prelude::*;

#[pipeline(arch = rag)]
struct Storyteller {
    #[param(default = true)]
    rerank: bool,
}

fn main() {}
