use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "/opt/models/storyteller")]
struct Storyteller;

fn main() {}
