use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = vec!["END".to_owned()])]
    stop: Vec<String>,
}

fn main() {}
