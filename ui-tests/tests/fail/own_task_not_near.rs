use pipelines::prelude::*;

struct Bags;

#[pipeline(arch = Bags, task = singing)]
struct Classifier;

fn main() {}
