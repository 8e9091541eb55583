use pipelines::prelude::*;

struct Diary;

#[pipeline(arch = moe)]
struct Storyteller {
    diary: Diary,
}

fn main() -> Result<()> {
    Storyteller::load()?;
    Ok(())
}
