//! What makes cargo compile a declaration again: the files it was checked against, and nothing else.

use std::fs;

use pipelines::schema::checkpoint::{Checkpoint, snapshot};

use crate::scratch::{Outcome, Scratch};

const DECLARATION: &str = r#"//! A crate that declares a pipeline.
use pipelines::prelude::*;

/// Tells stories.
#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/tiny")]
pub struct Storyteller {
    #[param(default = 4)]
    num_active_experts: usize,
}
"#;

#[test]
fn what_was_checked_against_is_checked_again_when_it_changes() {
    let scratch = Scratch::new("rebuilds", "pipelines = { path = \"PIPELINES\" }");
    crate::checkpoints::write(&scratch.root);
    scratch.write("src/lib.rs", DECLARATION);
    scratch.expect(Outcome::Compiled, "");

    scratch.write("README.md", "Nothing that is compiled.");
    scratch.write("checkpoints/tiny/README.md", "Nothing that is checked.");
    scratch.write("src/unused.rs", "compile_error!(\"in no module\");");
    scratch.expect(Outcome::Fresh, "");

    let config =
        fs::read_to_string(scratch.root.join("checkpoints/tiny/config.json")).expect("it was written");
    let fewer = config.replace("\"num_local_experts\":4", "\"num_local_experts\":3");
    assert_ne!(fewer, config);
    scratch.write("checkpoints/tiny/config.json", &fewer);
    scratch.expect(Outcome::Refused, "`num_active_experts` is 4, but the checkpoint has 3 experts");
    scratch.write("checkpoints/tiny/config.json", &config);
    scratch.expect(Outcome::Compiled, "");

    // The same of a snapshot, once the checkpoint is gone.
    let checkpoint =
        Checkpoint::read(&scratch.root.join("checkpoints/tiny")).expect("the checkpoint is right");
    let prepared = snapshot::write(&checkpoint, "checkpoints/tiny");
    fs::remove_dir_all(scratch.root.join("checkpoints/tiny")).expect("it was written");
    scratch.expect(Outcome::Refused, "run `pipelines prepare`");
    let path = snapshot::path("checkpoints/tiny");
    scratch.write(&path, &prepared);
    scratch.expect(Outcome::Compiled, "");
    scratch.write("README.md", "Still nothing that is compiled.");
    scratch.expect(Outcome::Fresh, "");
    scratch.write(&path, &prepared.replace("\"num_local_experts\": 4", "\"num_local_experts\": 3"));
    scratch.expect(Outcome::Refused, ".pipelines/checkpoints--tiny.json: config.num_local_experts = 3");
}
