use pipelines::prelude::*;

#[pipeline(arch = moe, route = by_length)]
struct Storyteller;

fn by_length(
    _: &Storyteller,
    _: &CallOf<'_, Storyteller>,
    _: PreparedOf<Storyteller>,
) -> Result<PlanOf<Storyteller>> {
    unimplemented!()
}

fn main() {}
