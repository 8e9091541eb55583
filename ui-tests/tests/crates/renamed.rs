//! A crate that calls `pipelines` by another name in its `Cargo.toml`.

use crate::scratch::{Outcome, Scratch};

#[test]
fn a_dependency_may_be_renamed() {
    let scratch = Scratch::new("renamed", "pipes = { package = \"pipelines\", path = \"PIPELINES\" }");
    scratch.write(
        "src/main.rs",
        r#"
use pipes::prelude::*;

/// Nothing here is called `pipelines`.
#[pipeline(arch = moe, task = text-generation, hardware = [cuda, cpu], crate = pipes, format = format)]
struct Storyteller {
    #[param(default = 0.8, range = 0.1..=1.5)]
    temperature: f32,
    #[param]
    seed: Option<u64>,
    own: Vec<u8>,
}

fn format(_: &Storyteller, call: &CallOf<'_, Storyteller>, raw: RawOf<Storyteller>) -> Result<Vec<OutputOf<Storyteller>>> {
    pipes::declared::format::<Storyteller>(call, raw)
}

fn main() {
    assert_eq!(Storyteller::HARDWARE, [Hardware::Cuda, Hardware::Cpu]);
    let error = Storyteller::load().unwrap_err().to_string();
    assert!(error.starts_with("`Storyteller` declares no model"), "{error}");
}
"#,
    );
    scratch.expect(Outcome::Compiled, "");
    let run = scratch.cargo(&["run"], &[]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    // The key is for what the manifest does not say in so many words.
    let source = std::fs::read_to_string(scratch.root.join("src/main.rs")).expect("it was just written");
    scratch.write("src/main.rs", &source.replace(", crate = pipes", ""));
    scratch.expect(Outcome::Compiled, "");
}
