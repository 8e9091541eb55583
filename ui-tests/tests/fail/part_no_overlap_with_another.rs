#[path = "../architectures/jury.rs"]
mod jury;

use jury::{Jury, Vote};
use pipelines::prelude::*;

#[pipeline(arch = moe, hardware = [cuda])]
struct Storyteller;

#[pipeline(arch = moe, task = feature-extraction, hardware = [cpu])]
struct Embedder;

#[pipeline(arch = Jury, task = Vote, hardware = [cuda, cpu], generator = Storyteller, embedder = Embedder)]
struct Court;

fn main() {}
