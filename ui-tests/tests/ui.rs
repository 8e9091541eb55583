//! What the compiler says about declarations: `fail/` must not compile, with the message beside it, `pass/` must.
//!
//! `TRYBUILD=overwrite cargo test -p ui-tests` writes the messages anew; `cargo test -p ui-tests -- ui trybuild=arch`
//! tries the cases with `arch` in their names.

mod checkpoints;

#[test]
fn ui() {
    // Each case is built in a crate that trybuild makes there, so that this is where `model` begins.
    let target =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    checkpoints::write(&target.join("tests/trybuild/ui-tests"));
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    cases.compile_fail("tests/fail/*.rs");
}
