use pipelines::prelude::*;

#[pipeline(arch = moe, task = "feature-extraction")]
struct Reader;

#[pipeline(arch = moe, task = "text-generation", format = vectors)]
struct Storyteller;

fn vectors(_: &Storyteller, _: &CallOf<'_, Storyteller>, _: RawOf<Reader>) -> Result<Vec<OutputOf<Reader>>> {
    unimplemented!()
}

fn main() {}
