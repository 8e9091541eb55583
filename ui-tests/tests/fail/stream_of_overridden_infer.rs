use pipelines::prelude::*;

#[pipeline(arch = moe, infer = dream)]
struct Storyteller;

fn dream(
    _: &Storyteller,
    _: &CallOf<'_, Storyteller>,
    _: PreparedOf<Storyteller>,
    _: PlanOf<Storyteller>,
) -> Result<RawOf<Storyteller>> {
    unimplemented!()
}

fn main() -> Result<()> {
    Storyteller::load()?.stream("Once upon a time")?;
    Ok(())
}
