use pipelines::prelude::*;

#[pipeline(arch = moe)]
enum Storyteller {
    Short {
        #[param(default = 0.8)]
        temperature: f32,
    },
}

fn main() {}
