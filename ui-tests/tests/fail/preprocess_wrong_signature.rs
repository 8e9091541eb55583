use pipelines::prelude::*;

#[pipeline(arch = moe, preprocess = upper_case)]
struct Storyteller;

fn upper_case(_: &Storyteller, inputs: Vec<String>) -> Result<Vec<String>> {
    Ok(inputs)
}

fn main() {}
