use pipelines::prelude::*;

#[pipeline(arch = "diffusion", hardware = [cuda, cpu], model = "checkpoints/painter")]
struct Painter {
    #[param(default = 30)]
    num_inference_steps: usize,
}

fn main() -> Result<()> {
    let painter = Painter::load()?;
    painter.run("a red circle")?;
    Ok(())
}
