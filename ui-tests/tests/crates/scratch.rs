//! Crates outside the workspace that depend on `pipelines`, as a user's does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A crate outside the workspace, built where trybuild builds its own: the crates it depends on are built once.
pub(super) struct Scratch {
    pub(super) root: PathBuf,
    name: &'static str,
    target: PathBuf,
    triple: String,
}

impl Scratch {
    /// The crate `name` with these lines of `[dependencies]`, in which `PIPELINES` stands for where `pipelines` is.
    pub(super) fn new(name: &'static str, dependencies: &str) -> Scratch {
        let target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace");
        let root = target.join("tests").join(name);
        let _ = fs::remove_dir_all(&root);
        let pipelines = workspace.join("pipelines").display().to_string().replace('\\', "/");
        let dependencies = dependencies.replace("PIPELINES", &pipelines);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{dependencies}\nserde_json = \"1\"\n\n[workspace]\n"
        );
        let scratch = Scratch { root, name, target: target.join("tests/trybuild"), triple: triple() };
        scratch.write("Cargo.toml", &manifest);
        fs::copy(workspace.join("Cargo.lock"), scratch.root.join("Cargo.lock"))
            .expect("there is a lock file");
        scratch
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        fs::create_dir_all(path.parent().expect("it is in the crate"))
            .expect("the target directory can be written to");
        fs::write(path, text).expect("the directory was just made");
    }

    /// Runs cargo in the crate.
    pub(super) fn cargo(&self, command: &[&str], after: &[&str]) -> Output {
        // The flags of trybuild: with others, everything below would be built a second time.
        let flags = r#"["--cfg", "trybuild", "--verbose", "-A", "dead_code"]"#;
        Command::new(env!("CARGO"))
            .args(command)
            .args(["--offline", "--color=never", "--target", &self.triple])
            .arg(format!("--config=build.rustflags={flags}"))
            .arg(format!("--config=target.{}.rustflags={flags}", self.triple))
            .args(after)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "0")
            .env_remove("RUSTFLAGS")
            .output()
            .expect("cargo runs")
    }

    /// What cargo says of a build, and whether it compiled the crate.
    pub(super) fn build(&self) -> (String, Outcome) {
        let output = self.cargo(&["build"], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = match (output.status.success(), said.contains(&format!("Compiling {} ", self.name))) {
            (false, _) => Outcome::Refused,
            (true, true) => Outcome::Compiled,
            (true, false) => Outcome::Fresh,
        };
        (said, outcome)
    }

    pub(super) fn expect(&self, expected: Outcome, says: &str) {
        let (said, outcome) = self.build();
        assert!(outcome == expected && said.contains(says), "expected {expected:?} with {says:?}:\n{said}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
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
