use pipelines::prelude::*;

#[pipeline(arch = rag)]
struct Storyteller {
    #[param(default = ["It rained."])]
    context: Vec<String>,
    #[param(default = 3)]
    num_docs: usize,
}

fn main() {}
