#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

/// The part runs on one kind of hardware more.
#[pipeline(arch = moe, hardware = [rocm, cpu])]
struct Storyteller;

mod embedding {
    #[pipelines::pipeline(arch = moe, task = feature-extraction)]
    pub struct Embedder;
}

#[pipeline(arch = Jury, task = Vote, hardware = [cuda, cpu], generator = Storyteller)]
struct WithoutTheOptional;

#[pipeline(arch = Jury, task = Vote, hardware = [cuda, cpu], generator = self::Storyteller, embedder = embedding::Embedder)]
struct WithAll;

/// The loader checks the parts of a generic pipeline.
#[pipeline(arch = Jury, task = Vote, generator = Storyteller)]
struct Generic<T: Send + Sync + Default> {
    #[allow(dead_code)]
    own: T,
}

impl pipelines::task::PartTask for Vote {
    type Input = String;
    type Output = String;
}

fn main() {
    assert_eq!((WithoutTheOptional::PARTS.len(), WithAll::PARTS.len()), (1, 2));
    assert_eq!(Generic::<u8>::PARTS.len(), 1);
    let mut parts = jury::JuryParts::default();
    assert!(!parts.generator.is_there() && !parts.embedder.is_there());
    // What is loaded already can be given, whatever its architecture is.
    let builder = WithAll::builder().parts(|given| std::mem::swap(given, &mut parts));
    assert!(builder.load().unwrap_err().to_string().starts_with("the part `generator` (`Storyteller`): "));
    let error = Generic::<u8>::load().unwrap_err().to_string();
    assert_eq!(
        error,
        "the part `generator` (`Storyteller`): `Storyteller` declares no model: write `model = \"...\"` or call \
         `Storyteller::from_pretrained`"
    );
    let error = WithAll::builder().hardware([Hardware::Cuda]).load().unwrap_err().to_string();
    assert_eq!(
        error,
        "the part `generator` (`Storyteller`) runs on `cpu`, `rocm` only: a pipeline and its parts run on the same \
         hardware"
    );
}
