//! What the compiler says about declarations: `fail/` must not compile, with the message beside it, `pass/` must.
//!
//! `TRYBUILD=overwrite UPDATE_EXPECT=1 cargo test -p ui-tests --test ui` writes the messages anew, and the gallery that is
//! made of them; `cargo test -p ui-tests --test ui -- ui trybuild=arch` tries the cases with `arch` in their names.

mod audit;
#[path = "../checkpoints/mod.rs"]
mod checkpoints;
mod gallery;

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
    // The cases are tried when they are dropped; what is made of their messages comes after that.
    drop(cases);
    gallery::is_up_to_date();
    audit::every_rule_has_its_case();
}
