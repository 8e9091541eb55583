use pipelines::prelude::*;

use std::rc::Rc;

#[pipeline(arch = moe)]
struct Storyteller {
    diary: Rc<str>,
}

fn main() -> Result<()> {
    Storyteller { diary: "".into() }.into_builder().load()?;
    Ok(())
}
