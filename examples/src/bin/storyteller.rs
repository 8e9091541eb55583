//! Tells a short story with a sparse mixture of experts, and shows which expert wrote which word.
//!
//! ```text
//! cargo run --release --bin storyteller
//! cargo run --release --bin storyteller -- "Once upon a time, a small fox named Ruby"
//! ```

use pipelines::prelude::*;

/// Tells short stories with a sparse mixture of experts.
#[pipeline(
    arch = "moe",
    task = "text-generation",
    hardware = [cuda, rocm, cpu],
    model = "checkpoints/storyteller-moe",
)]
struct Storyteller {
    /// Experts each token visits: checked against the checkpoint.
    #[param(default = 2)]
    num_active_experts: usize,
    #[param(default = 0.8)]
    temperature: f32,
}

fn main() -> pipelines::Result<()> {
    let beginning = std::env::args().nth(1).unwrap_or_else(|| "Once upon a time".to_owned());
    let teller = Storyteller::load()?;
    let story = teller.run(beginning)?;
    println!("{}\n\n{}", story.text, story.experts.heatmap());
    Ok(())
}
