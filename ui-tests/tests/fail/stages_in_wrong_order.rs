use pipelines::prelude::*;

#[pipeline(arch = moe)]
struct Storyteller;

fn main() -> Result<()> {
    let teller = Storyteller::load()?;
    let prepared = teller.preprocess(["Once upon a time"])?;
    teller.format(prepared)?;
    Ok(())
}
