//! Llama, Mistral, Qwen2 and Qwen3 agree with the recorded reference (`fixtures/decoders/README.md`).

mod fixtures_harness;

use fixtures_harness::reference_tests;
use pipeline_runtime::arch::Text;
use pipeline_runtime::checkpoint::CheckpointFiles;
use pipeline_runtime::layers::Weights;
use pipeline_runtime::models::decoder::Decoder;
use pipeline_runtime::{DType, Device, Hardware};
use pipeline_schema::models::ModelConfig;

fn load(files: &CheckpointFiles, device: &Device) -> (Decoder, ()) {
    let ModelConfig::Decoder(config) = files.facts().model().unwrap() else { panic!("a dense decoder") };
    let weights = Weights::new(files, Some(DType::F32)).on(device).unwrap();
    (Decoder::load(&weights, config, files.facts().head().unwrap(), |_, _| {}).unwrap(), ())
}

reference_tests!("decoders", Text, load);
