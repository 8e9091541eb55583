use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param]
    candidate_labels: Option<Vec<String>>,
}

fn main() {}
