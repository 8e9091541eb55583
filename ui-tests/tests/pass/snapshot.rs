use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/prepared")]
struct Storyteller {
    #[param(default = 4)]
    num_active_experts: usize,
}

#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/tiny")]
struct Present;

fn main() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/prepared");
    assert!(!directory.exists());
    let model = Storyteller::MODEL.unwrap();
    assert_eq!(model.path, "checkpoints/prepared");
    assert_eq!(model.header_hash, Present::MODEL.unwrap().header_hash);
    // The model itself is needed to run it.
    let error = Storyteller::load().unwrap_err().to_string();
    assert!(error.contains("checkpoints/prepared"), "{error}");
}
