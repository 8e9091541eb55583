use pipelines::prelude::*;

use pipelines::Declared;

#[pipeline(arch = moe)]
struct Storyteller {
    #[param(default = 64, range = 1..=128)]
    max_new_tokens: u16,
    #[param(default = 1, range = 0..=2)]
    temperature: f32,
    #[param(default = 0.95)]
    top_p: Option<f64>,
    #[param(default = 40, range = 1..=100)]
    top_k: Option<usize>,
    #[param(default = true)]
    do_sample: bool,
    #[param(default = ["\n\n", "The end"])]
    stop: Vec<String>,
    #[param]
    seed: Option<u64>,
    #[param(default = "reroute")]
    overflow: String,
    #[param(default = 1.25)]
    capacity_factor: f32,
    name: String,
}

fn main() {
    let teller = Storyteller::declared();
    assert_eq!(teller.max_new_tokens, 64);
    assert_eq!(teller.temperature, 1.0);
    assert_eq!(teller.top_p, Some(0.95));
    assert_eq!(teller.top_k, Some(40));
    assert!(teller.do_sample);
    assert_eq!(teller.stop, ["\n\n", "The end"]);
    assert_eq!(teller.seed, None);
    assert_eq!(teller.overflow, "reroute");
    assert_eq!(teller.capacity_factor, 1.25);
    assert_eq!(teller.name, "");
}
