use pipelines::prelude::*;

struct Bags;

#[pipeline(arch = Bags)]
struct Classifier;

fn main() {}
