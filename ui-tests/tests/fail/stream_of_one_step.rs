use pipelines::prelude::*;

#[pipeline(arch = moe, task = "feature-extraction")]
struct Reader;

fn main() -> Result<()> {
    Reader::load()?.stream("Once upon a time")?;
    Ok(())
}
