//! What makes cargo compile a declaration again: the files it was checked against, and nothing else.

mod checkpoints;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipelines::schema::checkpoint::{Checkpoint, snapshot};

const DECLARATION: &str = r#"//! A crate that declares a pipeline.
use pipelines::prelude::*;

/// Tells stories.
#[pipeline(arch = moe, hardware = [cpu], model = "checkpoints/tiny")]
pub struct Storyteller {
    #[param(default = 4)]
    num_active_experts: usize,
}
"#;

/// A crate outside the workspace, built where trybuild builds its own: the crates it depends on are built once.
struct Scratch {
    root: PathBuf,
    target: PathBuf,
    triple: String,
}

impl Scratch {
    fn new() -> Scratch {
        let target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace");
        let root = target.join("tests/rebuilds");
        let _ = fs::remove_dir_all(&root);
        checkpoints::write(&root);
        let manifest = format!(
            "[package]\nname = \"rebuilds\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\npipelines = {{ path = {:?} }}\nserde_json = \"1\"\n\n[workspace]\n",
            workspace.join("pipelines"),
        );
        let scratch = Scratch { root, target: target.join("tests/trybuild"), triple: triple() };
        scratch.write("Cargo.toml", &manifest);
        scratch.write("src/lib.rs", DECLARATION);
        fs::copy(workspace.join("Cargo.lock"), scratch.root.join("Cargo.lock"))
            .expect("there is a lock file");
        scratch
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        fs::create_dir_all(path.parent().expect("it is in the crate"))
            .expect("the target directory can be written to");
        fs::write(path, text).expect("the directory was just made");
    }

    /// What cargo says of a build, and whether it compiled the crate.
    fn build(&self) -> (String, Outcome) {
        // The flags of trybuild: with others, everything below would be built a second time.
        let flags = r#"["--cfg", "trybuild", "--verbose", "-A", "dead_code"]"#;
        let output = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--color=never", "--target", &self.triple])
            .arg(format!("--config=build.rustflags={flags}"))
            .arg(format!("--config=target.{}.rustflags={flags}", self.triple))
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "0")
            .env_remove("RUSTFLAGS")
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = match (output.status.success(), said.contains("Compiling rebuilds ")) {
            (false, _) => Outcome::Refused,
            (true, true) => Outcome::Compiled,
            (true, false) => Outcome::Fresh,
        };
        (said, outcome)
    }

    fn expect(&self, expected: Outcome, says: &str) {
        let (said, outcome) = self.build();
        assert!(outcome == expected && said.contains(says), "expected {expected:?} with {says:?}:\n{said}");
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Fresh,
    Compiled,
    Refused,
}

/// The triple that the tests are built for.
fn triple() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let said = String::from_utf8(output.stdout).expect("rustc writes UTF-8");
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

#[test]
fn what_was_checked_against_is_checked_again_when_it_changes() {
    let scratch = Scratch::new();
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
