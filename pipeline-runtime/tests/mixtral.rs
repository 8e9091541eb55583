//! Mixtral agrees with the recorded reference (`fixtures/mixtral/README.md`).

mod fixtures_harness;

use fixtures_harness::reference_tests;
use pipeline_runtime::arch::Moe;
use pipeline_runtime::checkpoint::CheckpointFiles;
use pipeline_runtime::layers::{RoutingPolicy, Weights};
use pipeline_runtime::models::mixtral::Mixtral;
use pipeline_runtime::{DType, Device, Hardware};
use pipeline_schema::models::ModelConfig;

fn load(files: &CheckpointFiles, device: &Device) -> (Mixtral, RoutingPolicy) {
    let ModelConfig::Mixtral(config) = files.facts().model().unwrap() else { panic!("a Mixtral") };
    let weights = Weights::new(files, Some(DType::F32)).on(device).unwrap();
    let model = Mixtral::load(&weights, config, files.facts().head().unwrap(), |_, _| {}).unwrap();
    let policy = model.routing_policy();
    (model, policy)
}

reference_tests!("mixtral", Moe, load);
