use pipelines::prelude::*;

#[pipeline(arch = diffusion, task = "text-to-image", hardware = [cuda, metal])]
struct Painter {
    #[param(default = 500)]
    width: u32,
    #[param(default = 0.5)]
    strength: f32,
    #[param(default = 7.5)]
    guidence_scale: f32,
    #[param(default = "dim")]
    scheduler: String,
    #[param(default = 0.8)]
    temperature: f32,
}

fn main() -> Result<()> {
    Painter::load()?.run("a red circle")?;
    Ok(())
}
