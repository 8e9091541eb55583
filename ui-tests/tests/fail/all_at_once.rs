use pipelines::prelude::*;

#[pipeline(
    arch = "mixture-of-expert",
    task = "text-generator",
    hardware = [cuda, rocm, gpu],
    model = "checkpoints/tiny",
    dtpye = "bf16",
    custom(fromat),
)]
pub struct Storyteller {
    #[param(default = 9)]
    num_active_experts: usize,
    #[param(default = 0.8, range = 1..=2)]
    temperature: f32,
    #[param(default = 50)]
    topk: usize,
}

// The mistakes above are all there is to mend: code that uses the pipeline is right.
fn main() -> Result<()> {
    let teller = Storyteller::load()?;
    let story = teller.run("Once upon a time")?;
    println!("{}", story.text);
    for delta in teller.stream("Once upon a time")? {
        print!("{}", delta?.text);
    }
    Ok(())
}
