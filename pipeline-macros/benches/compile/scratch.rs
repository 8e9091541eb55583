//! Crates outside the workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A crate outside the workspace that depends on `pipelines`; the crates it depends on are built once.
pub(super) struct Scratch {
    root: PathBuf,
}

/// Where scratch crates and their target directories are.
pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile")
}

/// A manifest with one dependency of the workspace; its own profiles, and so cargo's.
pub(super) fn write_manifest(root: &Path, name: &str, dependency: &str, path: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace");
    let path = workspace.join(path).display().to_string().replace('\\', "/");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependency} = {{ path = \"{path}\" }}\n\n[workspace]\n"
    );
    fs::create_dir_all(root.join("src")).expect("the target directory can be written to");
    fs::write(root.join("Cargo.toml"), manifest).expect("the directory was just made");
    fs::write(root.join("src/lib.rs"), "").expect("the directory was just made");
    fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock")).expect("there is a lock file");
}

impl Scratch {
    pub(super) fn new(name: &str) -> Scratch {
        let root = directory().join(name);
        write_manifest(&root, name, "pipelines", "pipelines");
        Scratch { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// How long `cargo check` of the crate with this source takes, its dependencies being built.
    ///
    /// Each `side` is a program of its own, with a state of its own of the incremental compiler.
    pub(super) fn check(&self, side: &str, source: &str, incremental: bool) -> Duration {
        let program = side.replace([' ', ','], "-");
        let path = self.root.join("src/bin").join(format!("{program}.rs"));
        fs::create_dir_all(path.parent().expect("it is in `src`")).expect("the directory can be written to");
        // The time of the last change is new, so that cargo looks at it again.
        fs::write(path, source).expect("the directory was just made");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["check", "--offline", "--quiet", "--bin", &program])
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", directory().join("target"))
            .env("CARGO_INCREMENTAL", if incremental { "1" } else { "0" })
            .env_remove("RUSTFLAGS")
            .stdout(Stdio::null());
        let begin = Instant::now();
        let status = cargo.status().expect("cargo runs");
        let time = begin.elapsed();
        assert!(status.success(), "`{side}` does not compile");
        time
    }
}
