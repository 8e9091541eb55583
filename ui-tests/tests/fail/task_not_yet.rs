use pipelines::prelude::*;

#[pipeline(arch = moe, task = "summarization")]
struct Reader;

fn main() -> Result<()> {
    println!("{}", Reader::load()?.run("It rained, and it rained, and it rained.")?.text);
    Ok(())
}
