//! What the compiler says about declarations: `fail/` must not compile, with the message beside it, `pass/` must.
//!
//! `TRYBUILD=overwrite cargo test -p ui-tests` writes the messages anew; `cargo test -p ui-tests -- ui trybuild=arch`
//! tries the cases with `arch` in their names.

mod checkpoints;

use std::fs;

use pipelines::schema::checkpoint::{Checkpoint, snapshot};

/// Writes snapshots of models that are not there.
fn snapshots(root: &std::path::Path) {
    let checkpoint = Checkpoint::read(&root.join("checkpoints/tiny")).expect("the checkpoint is right");
    let write = |model: &str, change: &dyn Fn(String) -> String| {
        let path = root.join(snapshot::path(model));
        fs::create_dir_all(path.parent().expect("it has a name"))
            .expect("the target directory can be written to");
        fs::write(path, change(snapshot::write(&checkpoint, model))).expect("the directory was just made");
    };
    write("checkpoints/prepared", &|text| text);
    write("checkpoints/malformed-snapshot", &|text| text.replace("\"length\": ", "\"length\": -"));
}

#[test]
fn ui() {
    // Each case is built in a crate that trybuild makes there, so that this is where `model` begins.
    let target =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    let root = target.join("tests/trybuild/ui-tests");
    checkpoints::write(&root);
    snapshots(&root);
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    cases.compile_fail("tests/fail/*.rs");
}
