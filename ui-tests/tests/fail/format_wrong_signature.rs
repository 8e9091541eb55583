use pipelines::prelude::*;

#[pipeline(arch = moe, format = shout)]
struct Storyteller;

fn shout(
    _: &Storyteller,
    _: &CallOf<'_, Storyteller>,
    _: RawOf<Storyteller>,
) -> Result<Vec<String>> {
    unimplemented!()
}

fn main() {}
