use pipelines::prelude::*;

struct Bags;

#[pipeline(arch = Bags, task = "feature-extraction")]
struct Classifier;

fn main() {}
