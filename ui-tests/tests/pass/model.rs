use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/tiny")]
struct Storyteller {
    #[param(default = 4)]
    num_active_experts: usize,
    #[param(default = 32)]
    max_new_tokens: usize,
}

#[pipeline(arch = moe, task = "feature-extraction", model = "./checkpoints/headless/")]
struct Reader;

fn main() {
    let model = Storyteller::MODEL.unwrap();
    assert_eq!(model.path, "checkpoints/tiny");
    assert_eq!(model.manifest_directory, env!("CARGO_MANIFEST_DIR"));
    assert!(model.header_hash.is_some());
    assert_ne!(model.header_hash, Reader::MODEL.unwrap().header_hash);
}
