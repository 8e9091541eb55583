#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

#[pipeline(arch = moe, task = feature-extraction)]
struct Embedder;

#[pipeline(arch = Jury, task = Vote, embedder = Embedder)]
struct Court;

fn main() {}
