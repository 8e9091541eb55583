use pipelines::prelude::*;

struct Bags;

#[pipeline(arch = Bags, task = "text-clasification")]
struct Classifier;

fn main() {}
