use pipelines::prelude::*;

#[pipeline(arch = "stable-diffusion", hardware = [cpu])]
struct Storyteller;

fn main() {}
